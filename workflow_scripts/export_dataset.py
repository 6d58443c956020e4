"""Unpack frames, mattes and masks into FlashAvatar's folder layout: imgs/, alpha/, parsing/."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.formats.flashavatar.writer import export_dataset


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("frames", "alpha", "parsing"):
        parser.add_argument(
            f"--{name}", type=Path, nargs="+", required=True, help=f"{name} zips of all chunks"
        )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    export_dataset(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    stage(main)
