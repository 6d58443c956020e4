"""Build the procedural head model: this project's own curves -> head model .npz."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.synthetic.head.build import build


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="head model to write (.npz)")
    args = parser.parse_args(argv)
    build(args.out)


if __name__ == "__main__":
    stage(main)
