"""Make the clean plate of a clip: its background without the person."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.masks.clean_plate import make_clean_plate


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=Path, nargs="+", required=True, help="zips of the images")
    parser.add_argument("--alpha", type=Path, nargs="+", required=True, help="zips of the mattes")
    parser.add_argument("--out", type=Path, required=True, help="image to write (.png)")
    args = parser.parse_args(argv)
    make_clean_plate(args.frames, args.alpha, args.out)


if __name__ == "__main__":
    stage(main)
