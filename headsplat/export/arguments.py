"""Arguments of the exports that play a motion."""

from argparse import ArgumentParser, Namespace
from pathlib import Path

from headsplat.drive.face_options import add_face_arguments
from headsplat.drive.kinds import HEAD_MOTIONS, KINDS, RELATIVE, MotionOptions
from headsplat.export.frames import MotionFile
from headsplat.export.options import ExportOptions
from headsplat.options import add_arguments, schema_of
from headsplat.runtime.errors import UserError


def add_played_arguments(parser: ArgumentParser) -> None:
    """Add avatar, track, motion with its options, the output, and the export's options."""
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained avatar")
    parser.add_argument("--head", type=Path, required=True, help="head model .npz")
    parser.add_argument("--track", type=Path, required=True, help="track.npz of the avatar's clip")
    parser.add_argument("--motion", type=Path, help="file to play in place of the track")
    parser.add_argument("--kind", choices=tuple(KINDS), help=KINDS.described())
    parser.add_argument(
        "--head-motion", choices=HEAD_MOTIONS, default=RELATIVE, help="how the head moves"
    )
    parser.add_argument(
        "--blinks", choices=("yes", "no"), default="yes", help="add blinks where the kind has none"
    )
    add_face_arguments(parser)
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    add_arguments(parser, schema_of(ExportOptions))


def motion_of(args: Namespace) -> MotionFile | None:
    """The motion of parsed arguments; None plays the track.

    Raises:
        UserError: a motion without its kind.
    """
    if args.motion is None:
        return None
    if args.kind is None:
        raise UserError(f"{args.motion}: give --kind, one of {', '.join(KINDS)}")
    options = MotionOptions(
        args.head_motion, args.blinks == "yes", args.face, args.amplitude, args.neutral,
        args.subject_neutral,
    )  # fmt: skip
    return MotionFile(args.motion, args.kind, options)
