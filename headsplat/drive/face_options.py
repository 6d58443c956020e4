"""Options of the face of a motion: their columns, frame numbers, and what does not fit together."""

from argparse import ArgumentParser

from headsplat.drive.kinds import (
    ABSOLUTE,
    AMPLITUDES,
    DRIVER,
    FACES,
    KINDS,
    RELATIVE,
    MotionOptions,
)
from headsplat.runtime.errors import UserError, shown

FACE, AMPLITUDE, NEUTRAL, SUBJECT_NEUTRAL = "face", "amplitude", "neutral", "subject_neutral"
COLUMNS = (FACE, AMPLITUDE, NEUTRAL, SUBJECT_NEUTRAL)
# Frames that may be named, and the highest number.
MOST_FRAMES, HIGHEST = 1000, 9_999_999


def frame_numbers(text: str) -> tuple[int, ...]:
    """`12,40:44` -> (12, 40, 41, 42, 43, 44), ascending and without repetition.

    Raises:
        UserError: it is not written so, or names more than `MOST_FRAMES` frames.
    """
    numbers: set[int] = set()
    for part in text.split(",") if text.strip() else ():
        first, colon, last = part.strip().partition(":")
        ends = [_number(end) for end in ((first, last) if colon else (first, first))]
        if not 1 <= ends[0] <= ends[1]:
            raise UserError(f"'{shown(text)}' are no frame numbers, such as 12 or 12,40:44")
        if ends[1] - ends[0] >= MOST_FRAMES:
            raise UserError(f"'{shown(text)}' are more than {MOST_FRAMES} frames; name fewer")
        numbers.update(range(ends[0], ends[1] + 1))
    if len(numbers) > MOST_FRAMES:
        raise UserError(f"'{shown(text)}' are more than {MOST_FRAMES} frames; name fewer")
    return tuple(sorted(numbers))


def frame_text(numbers: tuple[int, ...]) -> str:
    """The numbers as `frame_numbers` reads them."""
    return ",".join(map(str, numbers))


def _number(text: str) -> int:
    """A frame number; 0 for other text."""
    short = len(text) <= len(str(HIGHEST)) and text.isascii() and text.isdigit()
    return int(text) if short else 0


def add_face_arguments(parser: ArgumentParser) -> None:
    """Add `--face`, `--amplitude`, `--neutral` and `--subject-neutral` to a parser."""
    parser.add_argument(
        "--face", choices=FACES, default=RELATIVE,
        help="codes of a track or arkit: relative to both neutral faces, or as they are",
    )  # fmt: skip
    parser.add_argument(
        "--amplitude", choices=AMPLITUDES, default=DRIVER,
        help="of relative expressions: the driver's, or scaled to the subject's",
    )  # fmt: skip
    for flag, whose in (("--neutral", "motion"), ("--subject-neutral", "avatar's clip")):
        parser.add_argument(
            flag, type=frame_numbers, default=(), metavar="FRAMES",
            help=f"neutral frames of the {whose}, such as 12,40:44; by default they are found",
        )  # fmt: skip


def changed(options: MotionOptions) -> list[str]:
    """Columns of `COLUMNS` in which options differ from the defaults."""
    default = MotionOptions()
    return [name for name in COLUMNS if getattr(options, name) != getattr(default, name)]


def require_fitting(where: str, kind: str, face: str, given: list[str]) -> None:
    """Refuse options that have no effect.

    Args:
        where: begins the message: place of the options.
        kind: of the motion.
        face: of `FACES`.
        given: which of `COLUMNS` are given.

    Raises:
        UserError: the kind has no neutral face, or the face is absolute and needs none.
    """
    if given and not KINDS[kind].face:
        raise UserError(
            f"{where}: {kind} motions are not relative to a person's neutral face; "
            f"leave '{given[0]}' empty"
        )
    idle = [name for name in given if name != FACE]
    if face == ABSOLUTE and idle:
        raise UserError(
            f"{where}: face {ABSOLUTE} has no neutral face; leave '{idle[0]}' empty or set "
            f"'{FACE}' to {RELATIVE}"
        )
