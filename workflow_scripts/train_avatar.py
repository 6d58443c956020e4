"""Train a Gaussian avatar from head model, track, split and packed images: writes its folder."""

import argparse
from pathlib import Path

from headsplat_workflow.codehash import code_version
from headsplat_workflow.stage import stage

from headsplat.options import add_arguments, given
from headsplat.train.options import all_options, train_options
from headsplat.train.run import train_avatar


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, required=True, help="head model .npz")
    parser.add_argument("--track", type=Path, required=True, help="track.npz")
    parser.add_argument("--split", type=Path, required=True, help="split.json")
    for name, what in (("frames", "crops"), ("alpha", "mattes"), ("parsing", "masks")):
        parser.add_argument(
            f"--{name}", type=Path, nargs="+", required=True, help=f"zips of {what}"
        )
    parser.add_argument("--scratch", type=Path, required=True, help="folder of resumable state")
    parser.add_argument("--out", type=Path, required=True, help="folder to publish")
    parser.add_argument(
        "--checkpoint", type=Path, help="FlashAvatar's chkpntN.pth to go on from; for flashavatar"
    )
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument(
        "--assets", type=Path, default=Path("assets"), help="where LPIPS weights may lie"
    )
    parser.add_argument(
        "--cache-mib", type=int, default=1500, help="decoded images in the host's memory"
    )
    parser.add_argument(
        "--gpu-percent", type=int, default=50,
        help="share of the GPU's free memory that images may take; else they are streamed",
    )  # fmt: skip
    known = all_options()
    add_arguments(parser, {name: schema | {"enum": None} for name, schema in known.items()})
    args = parser.parse_args(argv)
    options = train_options(**given(args, known))
    options.check()
    train_avatar(
        args.head, args.track, args.split, args.frames, args.alpha, args.parsing, args.scratch,
        args.out, options, args.assets, args.device, args.cache_mib, args.gpu_percent,
        code_version("train_avatar"), args.checkpoint,
    )  # fmt: skip


if __name__ == "__main__":
    stage(main, gpu=True)
