"""Write a track as metrical-tracker's .frame files, one per image: track.npz -> checkpoint/."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.formats.frame_export import export_frames


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--track", type=Path, required=True, help="track.npz")
    parser.add_argument("--out", type=Path, required=True, help="folder of .frame files to write")
    args = parser.parse_args(argv)
    export_frames(args.track, args.out)


if __name__ == "__main__":
    stage(main)
