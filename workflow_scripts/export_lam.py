"""Export a trained avatar for LAM's web renderer and OpenAvatarChat (.zip)."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.export.lam import export_lam
from headsplat.export.options import ExportOptions, head_schema
from headsplat.options import add_arguments, parsed


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained avatar")
    parser.add_argument("--head", type=Path, required=True, help="head model .npz")
    parser.add_argument("--track", type=Path, required=True, help="track.npz")
    parser.add_argument("--out", type=Path, required=True, help="zip to write")
    add_arguments(parser, head_schema())
    args = parser.parse_args(argv)
    pass_on_head = parsed(ExportOptions, args).pass_on_head
    export_lam(args.model, args.head, args.track, pass_on_head, args.out)


if __name__ == "__main__":
    stage(main)
