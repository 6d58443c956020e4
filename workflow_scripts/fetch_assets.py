"""Fetch missing files that have a public address, or one that opens with your FLAME account."""

import argparse

from headsplat_workflow.assets.fetch import fetch_missing
from headsplat_workflow.assets.needs import parse
from headsplat_workflow.stage import stage


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    what = {"action": "append", "default": [], "metavar": "ASSET=PATH"}
    parser.add_argument("--required", **what, help="a file to fetch where it is missing")
    parser.add_argument("--optional", **what, help="a file to leave alone")
    args = parser.parse_args(argv)
    fetch_missing(parse(args.required, True))


if __name__ == "__main__":
    stage(main)
