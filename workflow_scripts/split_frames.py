"""Divide a clip's frames into training, held-out and guard frames: frames.tsv -> split.json."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.evaluate.split import split_frames
from headsplat.frames.table import read_frames
from headsplat.runtime.files import write_json
from headsplat.runtime.logs import log


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=Path, required=True, help="frames.tsv of the clip")
    parser.add_argument(
        "--mode",
        choices=("auto", "last", "spread"),
        default="auto",
        help="last: one block at the end; spread: five blocks; auto: last from 60 s on",
    )
    parser.add_argument("--out", type=Path, required=True, help="split.json to write")
    args = parser.parse_args(argv)
    split = split_frames(read_frames(args.frames), args.mode)
    log.info("%s", ", ".join(f"{k} {len(v)}" for k, v in split.items() if k != "mode"))
    write_json(args.out, split)


if __name__ == "__main__":
    stage(main)
