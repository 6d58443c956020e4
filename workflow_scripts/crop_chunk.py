"""Cut one chunk of a video to the clip's square and pack it as JPEG images."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.video.crop import crop_chunk


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, required=True, help="video of the subject")
    parser.add_argument("--info", type=Path, required=True, help="its video.json")
    parser.add_argument("--crop", type=Path, required=True, help="its crop.json")
    parser.add_argument("--chunk", type=int, required=True, help="number of the chunk, from 0")
    parser.add_argument("--chunks", type=int, required=True, help="how many chunks there are")
    parser.add_argument("--out", type=Path, required=True, help="zip of images to write")
    args = parser.parse_args(argv)
    crop_chunk(args.video, args.info, args.crop, args.chunk, args.chunks, args.out)


if __name__ == "__main__":
    stage(main)
