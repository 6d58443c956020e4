"""Render the built-in subject: the procedural head -> a talking video and its ground truth."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.synthetic.clip import render_clip


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, required=True, help="the procedural head (.npz)")
    parser.add_argument("--video", type=Path, required=True, help="mp4 to write")
    parser.add_argument("--ground_truth", type=Path, required=True, help="npz of what was rendered")
    parser.add_argument("--seconds", type=float, default=12.0, help="length, 1 to 600")
    parser.add_argument("--size", type=int, default=512, help="side in pixels, even, 64 to 2048")
    parser.add_argument("--fps", type=int, default=25, help="images per second, 10 to 60")
    args = parser.parse_args(argv)
    render_clip(args.head, args.video, args.ground_truth, args.seconds, args.size, args.fps)


if __name__ == "__main__":
    stage(main)
