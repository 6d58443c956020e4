"""Play a motion on a trained avatar: another subject's track, DiffPoseTalk's output or ARKit's."""

import argparse
from pathlib import Path

from headsplat_workflow.codehash import code_version
from headsplat_workflow.stage import stage

from headsplat.drive.kinds import HEAD_MOTIONS, KINDS, RELATIVE
from headsplat.drive.run import drive_avatar


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--avatar", type=Path, required=True, help="folder of the trained avatar")
    parser.add_argument("--head", type=Path, required=True, help="head model (.npz)")
    parser.add_argument("--track", type=Path, required=True, help="track.npz of the avatar's clip")
    parser.add_argument("--motion", type=Path, required=True, help="track.npz, .npz or .csv")
    parser.add_argument("--kind", choices=tuple(KINDS), required=True, help="what the motion is")
    parser.add_argument(
        "--head-motion", choices=HEAD_MOTIONS, default=RELATIVE, help="how the head moves"
    )
    parser.add_argument(
        "--blinks", choices=("yes", "no"), default="yes", help="give diffposetalk motions blinks"
    )
    parser.add_argument("--audio", type=Path, help="sound that starts with the motion")
    parser.add_argument("--scratch", type=Path, required=True, help="folder of resumable state")
    parser.add_argument("--out", type=Path, required=True, help="mp4 to write")
    args = parser.parse_args(argv)
    drive_avatar(
        args.avatar, args.head, args.track, args.motion, args.kind, args.head_motion,
        args.blinks == "yes", args.audio, args.scratch, args.out, code_version("drive_avatar"),
    )  # fmt: skip


if __name__ == "__main__":
    stage(main, gpu=True)
