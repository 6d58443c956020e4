"""Fail with the line that says which row of a table cannot be used."""

import argparse

from headsplat_workflow.stage import stage

from headsplat.runtime.errors import UserError


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--line", required=True, help="what is wrong, and where")
    raise UserError(parser.parse_args(argv).line)


if __name__ == "__main__":
    stage(main)
