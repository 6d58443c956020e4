"""Find the FLAME shape code of a clip's person with MICA: frames, landmarks -> identity .npy."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.tracking.identity import solve_identity


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=Path, nargs="+", required=True, help="frames zips")
    parser.add_argument("--landmarks", type=Path, required=True, help="the clip's landmarks.npz")
    parser.add_argument("--crop", type=Path, required=True, help="crop.json of the clip")
    parser.add_argument("--table", type=Path, required=True, help="frames.tsv of the clip")
    parser.add_argument("--weights", type=Path, required=True, help="mica.tar")
    parser.add_argument("--out", type=Path, required=True, help="code .npy (300,) to write")
    solve_identity(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    stage(main)
