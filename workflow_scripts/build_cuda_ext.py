"""Sources of the operators -> their compiled library and a stamp that says what it is for."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.gaussians.raster.extension import load
from headsplat.runtime.files import write_json


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the stamp, a JSON file")
    args = parser.parse_args(argv)
    write_json(args.out, load())


if __name__ == "__main__":
    stage(main)
