"""Segment one chunk into head-and-neck and mouth masks: writes PNG images.

The masks come from the tracked mesh and matte, or, with --weights, from a face-parsing network. The
clip's cut ends both at the neck.
"""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.masks.parse import parse_chunk
from headsplat.masks.parse_network import parse_chunk_by_network
from headsplat.masks.parsing_models import PARSING_MODELS


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=Path, required=True, help="the chunk's frames zip")
    parser.add_argument("--out", type=Path, required=True, help="parsing zip to write")
    parser.add_argument("--model", default="bisenet", help=PARSING_MODELS.described())
    parser.add_argument("--weights", type=Path, help="file of the network")
    parser.add_argument("--head", type=Path, required=True, help="head model .npz")
    parser.add_argument("--track", type=Path, required=True, help="track.npz")
    parser.add_argument("--cut", type=Path, required=True, help="the clip's neck_cut.npz")
    geometry = parser.add_argument_group("geometry")
    geometry.add_argument("--alpha", type=Path, help="the chunk's alpha zip")
    geometry.add_argument("--landmarks", type=Path, help="the clip's landmarks.npz")
    geometry.add_argument("--crop", type=Path, help="crop.json")
    args = vars(parser.parse_args(argv))
    weights, model = args.pop("weights"), args.pop("model")
    if weights is not None:
        geometry = [args[name] for name in ("head", "track", "cut")]
        parse_chunk_by_network(args["frames"], weights, *geometry, args["out"], model)
        return
    missing = [f"--{name}" for name, value in args.items() if value is None]
    if missing:
        parser.error(f"without --weights {', '.join(missing)} must be given")
    parse_chunk(**args)


if __name__ == "__main__":
    stage(main)
