"""Registry of motion formats (driving sources). A new kind is one module and one line here.

Importing this module imports no reader, so that planning needs no torch.
"""

from dataclasses import dataclass

from headsplat.registry import Plugin, Registry

# Head motion: relative to the mean pose of driver and subject, as in the driver's file, or none.
RELATIVE, ABSOLUTE, STILL = "relative", "absolute", "still"
HEAD_MOTIONS = (RELATIVE, ABSOLUTE, STILL)


@dataclass(frozen=True)
class MotionOptions:
    """Options of a motion, from the columns of `motions.tsv`.

    Attributes:
        head_motion: one of `HEAD_MOTIONS`.
        blinks: add procedural blinks; only for kinds with `blinks`.
    """

    head_motion: str = RELATIVE
    blinks: bool = True


@dataclass(frozen=True)
class MotionKind(Plugin):
    """A kind of motion; the target is a function (path, subject, options) -> `Motion`.

    Attributes:
        suffixes: file suffixes.
        heads: names of the head models that its codes belong to; None for any.
        subject: the file may be given as a subject's name, which means its `track.npz`.
        blinks: its files lack blinks, so that the column `blinks` applies.
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
            (".csv", ".json"),
            ("ict", "procedural"),
        ),
    },
)
