"""Decide where head and neck end and clothes begin in one clip: writes neck_cut.npz."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.masks.steady_cut import decide_cut


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, required=True, help="head model .npz of the track")
    parser.add_argument("--track", type=Path, required=True, help="track.npz")
    parser.add_argument("--frames", type=Path, nargs="+", required=True, help="frames/*.zip")
    parser.add_argument("--alpha", type=Path, nargs="+", required=True, help="alpha/*.zip")
    parser.add_argument("--out", type=Path, required=True, help="neck_cut.npz to write")
    args = parser.parse_args(argv)
    decide_cut(args.head, args.track, args.frames, args.alpha, args.out)


if __name__ == "__main__":
    stage(main)
