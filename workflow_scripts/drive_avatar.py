"""Render a trained avatar driven by a motion: a track, DiffPoseTalk codes or ARKit curves."""

import argparse
from pathlib import Path

from headsplat_workflow.codehash import code_version
from headsplat_workflow.stage import stage

from headsplat.drive.face_options import add_face_arguments
from headsplat.drive.kinds import HEAD_MOTIONS, KINDS, RELATIVE, MotionOptions
from headsplat.drive.look import ClipFiles, Look
from headsplat.drive.run import drive_avatar
from headsplat.options import add_arguments, parsed, schema_of


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--avatar", type=Path, required=True, help="folder of the trained avatar")
    parser.add_argument("--head", type=Path, required=True, help="head model (.npz)")
    parser.add_argument("--track", type=Path, required=True, help="track.npz of the avatar's clip")
    parser.add_argument("--motion", type=Path, required=True, help=".npz or .csv")
    parser.add_argument("--kind", choices=tuple(KINDS), required=True, help=KINDS.described())
    parser.add_argument(
        "--head-motion", choices=HEAD_MOTIONS, default=RELATIVE, help="how the head moves"
    )
    parser.add_argument(
        "--blinks",
        choices=("yes", "no"),
        default="yes",
        help="add blinks where the kind lacks them",
    )
    add_face_arguments(parser)
    add_arguments(parser, schema_of(Look))
    parser.add_argument("--plate", type=Path, help="the clip's background without the person")
    for name, what in (("frames", "images"), ("alpha", "mattes"), ("parsing", "masks")):
        parser.add_argument(
            f"--{name}", type=Path, nargs="*", default=(), help=f"zips of the clip's {what}"
        )
    parser.add_argument("--audio", type=Path, help="sound that starts with the motion")
    parser.add_argument("--scratch", type=Path, required=True, help="folder of resumable state")
    parser.add_argument(
        "--out", type=Path, required=True, help="mp4, mov, webm or png.zip to write"
    )
    args = parser.parse_args(argv)
    options = MotionOptions(
        args.head_motion, args.blinks == "yes", args.face, args.amplitude, args.neutral,
        args.subject_neutral,
    )  # fmt: skip
    drive_avatar(
        args.avatar, args.head, args.track, args.motion, args.kind, options, args.audio,
        args.scratch, args.out, code_version("drive_avatar"), parsed(Look, args),
        ClipFiles(args.plate, args.frames, args.alpha, args.parsing),
    )  # fmt: skip


if __name__ == "__main__":
    stage(main, gpu=True)
