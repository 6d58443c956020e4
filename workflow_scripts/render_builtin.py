"""Render the built-in subject with the procedural head: a talking video and its ground truth."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.options import add_arguments, parsed, schema_of
from headsplat.synthetic.clip import render_clip
from headsplat.synthetic.options import BuiltinOptions


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, required=True, help="the procedural head (.npz)")
    parser.add_argument("--video", type=Path, required=True, help="mp4 to write")
    parser.add_argument("--ground-truth", type=Path, required=True, help="npz of what was rendered")
    parser.add_argument("--fps", type=int, default=25, help="images per second, 10 to 60")
    add_arguments(parser, schema_of(BuiltinOptions))
    args = parser.parse_args(argv)
    clip = parsed(BuiltinOptions, args)
    render_clip(args.head, args.video, args.ground_truth, clip.seconds, clip.size, args.fps)


if __name__ == "__main__":
    stage(main)
