"""Compute a trained avatar's metrics on held-out frames; render it beside the ground truth."""

import argparse
from pathlib import Path

from headsplat_workflow.codehash import code_version
from headsplat_workflow.stage import stage

from headsplat.evaluate.run import evaluate_avatar


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--avatar", type=Path, required=True, help="folder of the trained avatar")
    parser.add_argument("--head", type=Path, required=True, help="head model (.npz)")
    parser.add_argument("--track", type=Path, required=True, help="track.npz")
    parser.add_argument("--split", type=Path, required=True, help="split.json")
    parser.add_argument("--frames", type=Path, nargs="+", required=True, help="zips of crops")
    parser.add_argument("--alpha", type=Path, nargs="+", required=True, help="zips of mattes")
    parser.add_argument("--parsing", type=Path, nargs="+", required=True, help="zips of masks")
    parser.add_argument("--video", type=Path, help="the source, for its sound")
    parser.add_argument(
        "--assets", type=Path, default=Path("assets"), help="where LPIPS weights may lie"
    )
    parser.add_argument("--scratch", type=Path, required=True, help="folder of resumable state")
    parser.add_argument("--metrics", type=Path, required=True, help="metrics.json to write")
    parser.add_argument("--evaluation", type=Path, required=True, help="evaluation.npz to write")
    parser.add_argument("--video-out", type=Path, required=True, help="test.mp4 to write")
    args = parser.parse_args(argv)
    evaluate_avatar(
        args.avatar, args.head, args.track, args.split, args.frames, args.alpha, args.parsing,
        args.video, args.assets, args.scratch, args.metrics, args.evaluation, args.video_out,
        code_version("evaluate_avatar"),
    )  # fmt: skip


if __name__ == "__main__":
    stage(main, gpu=True)
