"""Write a clip in VHAP's layout for GaussianAvatars: track, images and mattes -> a folder."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.formats.vhap.writer import export_vhap


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--track", type=Path, required=True, help="track.npz")
    parser.add_argument("--head", type=Path, required=True, help="head model .npz")
    parser.add_argument("--split", type=Path, required=True, help="split.json")
    for name in ("frames", "alpha", "parsing"):
        parser.add_argument(
            f"--{name}", type=Path, nargs="+", required=True, help=f"{name} zips of all chunks"
        )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    args = parser.parse_args(argv)
    export_vhap(args.track, args.head, args.split, args.frames, args.alpha, args.parsing, args.out)


if __name__ == "__main__":
    stage(main)
