"""Decode a video once: its size, frame rate, sound, and the source image of each 25 fps frame."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.video.probe import probe_video


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, required=True, help="video of the subject")
    parser.add_argument("--out", type=Path, required=True, help="video.json to write")
    args = parser.parse_args(argv)
    probe_video(args.video, args.out)


if __name__ == "__main__":
    stage(main)
