"""Split a clip's frames into training, held-out and guard frames: writes split.json."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.evaluate.split import SplitOptions, split_frames
from headsplat.frames.table import read_frames
from headsplat.options import add_arguments, parsed, schema_of
from headsplat.runtime.files import write_json
from headsplat.runtime.logs import log


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=Path, required=True, help="frames.tsv of the clip")
    parser.add_argument("--out", type=Path, required=True, help="split.json to write")
    add_arguments(parser, schema_of(SplitOptions))
    args = parser.parse_args(argv)
    split = split_frames(read_frames(args.frames), parsed(SplitOptions, args).mode)
    log.info("%s", ", ".join(f"{k} {len(v)}" for k, v in split.items() if k != "mode"))
    write_json(args.out, split)


if __name__ == "__main__":
    stage(main)
