"""Build the procedural head model, or import one from its source files: writes a .npz."""

import argparse
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path

from headsplat_workflow.assets.locate import unpacked
from headsplat_workflow.stage import stage

from headsplat.runtime.errors import UserError

# Imported by name, so that the code version of one head does not cover the code of the others;
# the rule adds the version of the head's own module.
REGISTRY = "headsplat.heads.registry"


def _file(text: str) -> tuple[str, Path]:
    key, _, path = text.partition("=")
    return key, Path(path)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", required=True, help=f"name of the head in {REGISTRY}")
    parser.add_argument(
        "--file", type=_file, action="append", default=[],
        help="asset=path, in the order of the registry; the path may be the asset's zip",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="head model .npz to write")
    args = parser.parse_args(argv)
    head = import_module(REGISTRY).HEADS[args.head]
    keys = tuple(key for key, _ in args.file)
    if keys != head.assets:
        wanted = ", ".join(head.assets) or "no file"
        raise UserError(f"--head {args.head}: is made of {wanted}, in this order; pass --file")
    with ExitStack() as stack:
        files = [stack.enter_context(unpacked(path, key)) for key, path in args.file]
        head.load()(args.out, *files)


if __name__ == "__main__":
    stage(main)
