"""Write a trained avatar in one pose as a 3D Gaussian Splatting point cloud: model -> .ply."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.formats.ply import export_ply

NEUTRAL = "neutral"


def _pose(text: str) -> int | None:
    return None if text == NEUTRAL else int(text)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained avatar")
    parser.add_argument("--head", type=Path, required=True, help="head model .npz")
    parser.add_argument("--track", type=Path, required=True, help="track.npz")
    parser.add_argument("--pose", type=_pose, default=NEUTRAL, help="neutral, or a frame id")
    parser.add_argument("--out", type=Path, required=True, help=".ply to write")
    args = parser.parse_args(argv)
    export_ply(args.model, args.head, args.track, args.pose, args.out)


if __name__ == "__main__":
    stage(main)
