"""The kinds of motion by name. A new kind is one module and one line here.

Importing this module imports no reader, so that planning needs no torch.
"""

from dataclasses import dataclass

from headsplat.registry import Plugin, Registry

# How the head moves: about the subject's mean view as the driver about its own, as the driver's
# file says, or not at all.
RELATIVE, ABSOLUTE, STILL = "relative", "absolute", "still"
HEAD_MOTIONS = (RELATIVE, ABSOLUTE, STILL)


@dataclass(frozen=True)
class MotionOptions:
    """The columns of a motion's row that readers may use.

    Attributes:
        head_motion: of `HEAD_MOTIONS`.
        blinks: whether the reader closes the lids now and then; only for kinds with `blinks`.
    """

    head_motion: str = RELATIVE
    blinks: bool = True


@dataclass(frozen=True)
class MotionKind(Plugin):
    """A kind of motion; the target is a function (path, subject, options) -> `Motion`.

    Attributes:
        suffixes: of its files.
        heads: names of the head models whose codes it gives; None for any.
        subject: whether a subject's name may stand for the file, which is then its `track.npz`.
        blinks: whether its files lack blinks, so that the column `blinks` applies.
    """

    suffixes: tuple[str, ...] = ()
    heads: tuple[str, ...] | None = None
    subject: bool = False
    blinks: bool = False


KINDS: Registry[MotionKind] = Registry(
    "kind of motion",
    {
        "track": MotionKind(
            "headsplat.drive.track_motion:read_track_motion",
            "another subject's track",
            (".npz",),
            subject=True,
        ),
        "diffposetalk": MotionKind(
            "headsplat.drive.diffposetalk:read_diffposetalk",
            "DiffPoseTalk's codes",
            (".npz",),
            ("flame",),
            blinks=True,
        ),
        "arkit": MotionKind(
            "headsplat.drive.arkit_motion:read_arkit",
            "Live Link Face's table",
            (".csv",),
            ("ict", "procedural"),
        ),
    },
)
