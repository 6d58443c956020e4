"""Write FLAME's parameters frame by frame, as .npz files and tables: track.npz -> a folder."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.formats.flame_parameters import export_flame_parameters


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--track", type=Path, required=True, help="track.npz")
    parser.add_argument("--head", type=Path, required=True, help="head model .npz")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)
    export_flame_parameters(args.track, args.head, args.out)


if __name__ == "__main__":
    stage(main)
