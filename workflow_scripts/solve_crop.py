"""Choose the subject among the faces, judge every frame, and fix one square crop for the clip."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.detect.solve import solve_crop


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--info", type=Path, required=True, help="video.json")
    parser.add_argument(
        "--landmarks", type=Path, nargs="+", required=True, help="landmark files of all chunks"
    )
    parser.add_argument("--crop", type=Path, required=True, help="crop.json to write")
    parser.add_argument("--frames", type=Path, required=True, help="frames.tsv to write")
    parser.add_argument(
        "--landmarks-out", type=Path, required=True, help="the subject's landmarks to write"
    )
    parser.add_argument("--size", type=int, default=512, help="side of the crops in pixels")
    args = parser.parse_args(argv)
    solve_crop(args.info, args.landmarks, args.crop, args.frames, args.landmarks_out, args.size)


if __name__ == "__main__":
    stage(main)
