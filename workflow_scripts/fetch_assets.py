"""Download missing assets that have a public address or need only the user's FLAME account.

It also fetches the model files of detection and matting, as `headsplat models` does.
"""

import argparse

from headsplat_workflow.assets.fetch import fetch_missing
from headsplat_workflow.assets.needs import parse
from headsplat_workflow.stage import stage

from headsplat.networks.fetch_models import fetch_models
from headsplat.networks.model_files import default_folder
from headsplat.runtime.errors import UserError


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    what = {"action": "append", "default": [], "metavar": "ASSET=PATH"}
    parser.add_argument("--required", **what, help="a file to fetch where it is missing")
    parser.add_argument("--optional", **what, help="a file to leave alone")
    args = parser.parse_args(argv)
    needs = parse(args.required, True)
    failures: list[str] = []
    for fetch in (lambda: fetch_models(default_folder()), lambda: fetch_missing(needs)):
        try:
            fetch()
        except UserError as error:
            failures += error.args
    if failures:
        raise UserError(*failures)


if __name__ == "__main__":
    stage(main)
