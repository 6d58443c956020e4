"""Add the trunk's pose, from the images, to a track that another tool made."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.tracking.trunk.solve import add_trunk


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, required=True, help="head model .npz of the track")
    parser.add_argument("--track", type=Path, required=True, help="track .npz without a trunk")
    parser.add_argument(
        "--frames", type=Path, nargs="*", default=[], help="zips of crops; none: a stiff neck"
    )
    parser.add_argument("--alpha", type=Path, nargs="*", default=[], help="zips of their mattes")
    parser.add_argument("--out", type=Path, required=True, help="track.npz to write")
    args = parser.parse_args(argv)
    add_trunk(args.head, args.track, args.frames, args.alpha, args.out)


if __name__ == "__main__":
    stage(main)
