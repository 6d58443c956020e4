"""Pack one chunk of an import's head and mouth masks: cut and scaled to the clip's window."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.formats.importing.pack import pack_parsing


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path, required=True, help="import.json of the subject")
    parser.add_argument("--crop", type=Path, required=True, help="its crop.json")
    parser.add_argument("--chunk", type=int, required=True, help="number of the chunk, from 0")
    parser.add_argument("--chunks", type=int, required=True, help="how many chunks there are")
    parser.add_argument("--out", type=Path, required=True, help="zip of masks to write")
    args = parser.parse_args(argv)
    pack_parsing(args.record, args.crop, args.chunk, args.chunks, args.out)


if __name__ == "__main__":
    stage(main)
