"""Parse one chunk: mesh, matte and picture -> head-and-neck and mouth masks, PNG of 0 or 255."""

import argparse
from pathlib import Path

from headsplat.cli import stage
from headsplat.masks.parse import parse_chunk


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, required=True, help="head model .npz")
    parser.add_argument("--track", type=Path, required=True, help="track.npz")
    parser.add_argument("--frames", type=Path, required=True, help="the chunk's frames zip")
    parser.add_argument("--alpha", type=Path, required=True, help="the chunk's alpha zip")
    parser.add_argument("--landmarks", type=Path, required=True, help="the clip's landmarks.npz")
    parser.add_argument("--crop", type=Path, required=True, help="crop.json")
    parser.add_argument("--out", type=Path, required=True, help="parsing zip to write")
    parse_chunk(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    stage(main)
