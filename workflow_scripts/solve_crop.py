"""Select the subject's face, classify every frame, and fix one square crop for the clip."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.detect.options import CropOptions
from headsplat.detect.solve import solve_crop
from headsplat.options import add_arguments, parsed, schema_of


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
    add_arguments(parser, schema_of(CropOptions))
    args = parser.parse_args(argv)
    size = parsed(CropOptions, args).size
    solve_crop(args.info, args.landmarks, args.crop, args.frames, args.landmarks_out, size)


if __name__ == "__main__":
    stage(main)
