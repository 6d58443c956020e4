"""Matte one chunk of frames: writes 8-bit PNG alpha images, 0 = background, 255 = person."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.masks.matte import matte_chunk
from headsplat.masks.matting_models import MatteOptions
from headsplat.options import add_arguments, parsed, schema_of


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--frames",
        type=Path,
        nargs="+",
        required=True,
        help="the frames zip of this chunk, and of the previous one for warm-up",
    )
    parser.add_argument(
        "--clip",
        type=Path,
        nargs="*",
        default=[],
        help="frames zips from the whole clip, for the background of a camera that stands still",
    )
    parser.add_argument("--chunk", required=True, help="the chunk, e.g. 003: its zip is 003.zip")
    parser.add_argument("--out", type=Path, required=True, help="alpha zip to write")
    parser.add_argument("--weights", type=Path, help="file of the network")
    add_arguments(parser, schema_of(MatteOptions))
    args = parser.parse_args(argv)
    options = parsed(MatteOptions, args)
    matte_chunk(
        args.frames, args.chunk, args.out, options.model, options.edge_radius,
        options.temporal_window, args.weights, args.clip,
    )  # fmt: skip


if __name__ == "__main__":
    stage(main)
