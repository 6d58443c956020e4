"""Solve a track again on the renders of a trained avatar; the avatar stays as it is."""

import argparse
from pathlib import Path

from headsplat_workflow.codehash import code_version
from headsplat_workflow.stage import stage

from headsplat.refit.run import track_on_avatar


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--avatar", type=Path, required=True, help="folder of the trained avatar")
    parser.add_argument("--head", type=Path, required=True, help="its head model .npz")
    parser.add_argument("--track", type=Path, required=True, help="track.npz to start from")
    for name, what in (("frames", "crops"), ("alpha", "mattes"), ("parsing", "masks")):
        parser.add_argument(
            f"--{name}", type=Path, nargs="+", required=True, help=f"zips of {what}"
        )
    parser.add_argument("--scratch", type=Path, required=True, help="folder of resumable state")
    parser.add_argument("--out", type=Path, required=True, help="track.npz to write")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    args = parser.parse_args(argv)
    track_on_avatar(
        args.avatar, args.head, args.track, args.frames, args.alpha, args.parsing, args.scratch,
        args.out, args.device, code_version("track_on_avatar"),
    )  # fmt: skip


if __name__ == "__main__":
    stage(main, gpu=True)
