"""Export the codes of a track as ARKit blendshapes, in Live Link Face's CSV format."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.formats.arkit.writer import export_arkit


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--track", type=Path, required=True, help="track.npz")
    parser.add_argument("--head", type=Path, required=True, help="head model .npz")
    parser.add_argument("--out", type=Path, required=True, help=".csv to write")
    args = parser.parse_args(argv)
    export_arkit(args.track, args.head, args.out)


if __name__ == "__main__":
    stage(main)
