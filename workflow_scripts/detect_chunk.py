"""Detect all faces in one chunk of a video: 478 landmarks each, in pixels of the full image."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.detect.chunk import detect_chunk
from headsplat.detect.options import DetectOptions
from headsplat.options import add_arguments, parsed, schema_of


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, required=True, help="video of the subject")
    parser.add_argument("--info", type=Path, required=True, help="its video.json")
    parser.add_argument("--chunk", type=int, required=True, help="number of the chunk, from 0")
    parser.add_argument("--chunks", type=int, required=True, help="how many chunks there are")
    parser.add_argument("--out", type=Path, required=True, help="landmark file to write")
    add_arguments(parser, schema_of(DetectOptions))
    args = parser.parse_args(argv)
    options = parsed(DetectOptions, args)
    detect_chunk(
        args.video,
        args.info,
        args.chunk,
        args.chunks,
        args.out,
        options.second,
        options.model,
    )


if __name__ == "__main__":
    stage(main)
