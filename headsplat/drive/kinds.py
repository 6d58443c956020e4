"""What a motion can be, for the workflow to know without loading what reads it."""

TRACK, DIFFPOSETALK, ARKIT = "track", "diffposetalk", "arkit"
# Kind -> the heads whose codes it can give; None for any.
KINDS: dict[str, tuple[str, ...] | None] = {
    TRACK: None,
    DIFFPOSETALK: ("flame",),
    ARKIT: ("ict", "procedural"),
}
# How the head moves: about the subject's mean view as the driver about its own, as the driver's
# file says, or not at all.
RELATIVE, ABSOLUTE, STILL = "relative", "absolute", "still"
HEAD_MOTIONS = (RELATIVE, ABSOLUTE, STILL)
