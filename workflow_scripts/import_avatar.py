"""A FlashAvatar checkpoint (chkpntN.pth) and the subject's track -> an avatar's folder."""

import argparse
from pathlib import Path

from headsplat_workflow.stage import stage

from headsplat.train.from_checkpoint import import_avatar


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--head", type=Path, required=True, help="head model .npz")
    parser.add_argument("--track", type=Path, required=True, help="track.npz")
    parser.add_argument("--checkpoint", type=Path, required=True, help="chkpntN.pth")
    parser.add_argument("--uv-size", type=int, default=128, help="texels per side of the UV map")
    parser.add_argument("--out", type=Path, required=True, help="folder to publish")
    args = parser.parse_args(argv)
    import_avatar(args.head, args.track, args.checkpoint, args.uv_size, args.out)


if __name__ == "__main__":
    stage(main)
