"""Build the procedural head model, or import one from its source files: writes a .npz."""

import argparse
from contextlib import ExitStack
from pathlib import Path

from headsplat_workflow.assets.locate import unpacked
from headsplat_workflow.stage import stage

from headsplat.registry import Plugin


def _file(text: str) -> tuple[str, Path]:
    key, _, path = text.partition("=")
    return key, Path(path)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--builder", required=True, help="package.module:function of headsplat.heads.registry"
    )
    parser.add_argument(
        "--file", type=_file, action="append", default=[],
        help="asset=path, in the order of the registry; the path may be the asset's zip",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, help="head model .npz to write")
    args = parser.parse_args(argv)
    with ExitStack() as stack:
        files = [stack.enter_context(unpacked(path, key)) for key, path in args.file]
        Plugin(args.builder, "").load()(args.out, *files)


if __name__ == "__main__":
    stage(main)
