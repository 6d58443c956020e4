"""List files that do not come with headsplat: present, wrong, or missing and where to get them."""

import argparse
from pathlib import Path

from headsplat_workflow.aloud import aloud
from headsplat_workflow.assets.check import RECORD, check_assets
from headsplat_workflow.assets.needs import parse
from headsplat_workflow.stage import stage


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    what = {"action": "append", "default": [], "metavar": "ASSET=PATH"}
    parser.add_argument("--required", **what, help="a file that must be there, e.g. ict=PATH")
    parser.add_argument("--optional", **what, help="a file that may be there")
    parser.add_argument("--record", type=Path, default=RECORD, help="hashes of files used before")
    args = parser.parse_args(argv)
    needs = [*parse(args.required, True), *parse(args.optional, False)]
    print(check_assets(needs, args.record), flush=True)


if __name__ == "__main__":
    stage(aloud(main))
