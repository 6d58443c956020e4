"""Export a trained avatar in one pose as Gaussians for other tools: .ply, .spz or .glb."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.export.options import ExportOptions
from headsplat.export.pose import export_pose
from headsplat.options import add_arguments, parsed, schema_of

NEUTRAL = "neutral"


def _pose(text: str) -> int | None:
    return None if text == NEUTRAL else int(text)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained avatar")
    parser.add_argument("--head", type=Path, required=True, help="head model .npz")
    parser.add_argument("--track", type=Path, required=True, help="track.npz")
    parser.add_argument("--pose", type=_pose, default=NEUTRAL, help="neutral, or a frame id")
    parser.add_argument("--out", type=Path, required=True, help=".ply, .spz or .glb to write")
    add_arguments(parser, schema_of(ExportOptions))
    args = parser.parse_args(argv)
    options = parsed(ExportOptions, args)
    export_pose(args.model, args.head, args.track, args.pose, args.out, options)


if __name__ == "__main__":
    stage(main)
