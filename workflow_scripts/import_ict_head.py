"""ICT-FaceKit (a folder, zip or tar with `FaceXModel/`) -> a head model, `.npz`."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.heads.ict.build import import_ict_head


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder, zip or tar")
    parser.add_argument("--out", type=Path, required=True, help="head model to write")
    args = parser.parse_args(argv)
    import_ict_head(args.source, args.out)


if __name__ == "__main__":
    stage(main)
