"""Matte one chunk of frames: writes 8-bit PNG alpha images, 0 = background, 255 = person."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.masks.matte import matte_chunk
from headsplat.masks.registry import MATTING_MODELS


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--frames",
        type=Path,
        nargs="+",
        required=True,
        help="the frames zip of this chunk, and of the previous one for warm-up",
    )
    parser.add_argument("--chunk", required=True, help="the chunk, e.g. 003: its zip is 003.zip")
    parser.add_argument("--out", type=Path, required=True, help="alpha zip to write")
    parser.add_argument(
        "--model",
        default="auto",
        help=f"auto: a network where --weights is given; {MATTING_MODELS.described()}",
    )
    parser.add_argument("--weights", type=Path, help="file of the network")
    parser.add_argument(
        "--edge-radius",
        type=float,
        default=8.0,
        help="reach of the edge refinement in pixels of a 512 image",
    )
    parser.add_argument(
        "--temporal-window", type=int, default=4, help="earlier frames that steady a matte"
    )
    matte_chunk(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    stage(main)
