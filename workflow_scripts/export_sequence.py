"""Export a motion of a trained avatar as numbered .ply files in a zip."""

import argparse

from headsplat_workflow.stage import stage

from headsplat.export.arguments import add_played_arguments, motion_of
from headsplat.export.options import ExportOptions
from headsplat.export.sequence import export_sequence
from headsplat.options import parsed


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_played_arguments(parser)
    args = parser.parse_args(argv)
    options = parsed(ExportOptions, args)
    export_sequence(args.model, args.head, args.track, motion_of(args), args.out, options)


if __name__ == "__main__":
    stage(main)
