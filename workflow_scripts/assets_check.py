"""List the third-party files that a configuration uses: present, wrong, or missing with sources."""

import argparse
from pathlib import Path

from headsplat_workflow.assets.check import RECORD, check_assets
from headsplat_workflow.assets.needs import parse
from headsplat_workflow.stage import errors_to_stdout, stage


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
    stage(errors_to_stdout(main))
