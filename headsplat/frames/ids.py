"""Frame numbers in names: padded to five digits, above 99,999 (66 minutes) with more."""

import re

LARGEST = 2**31 - 2  # ids are int32 in files, and an id is a frame's number from 0 plus one
_DIGITS = re.compile(r"[0-9]{1,20}")


def frame_number(text: str) -> int | None:
    """The number that a name is, padded or not; None if it is none, or larger than an id may be."""
    if _DIGITS.fullmatch(text) is None:
        return None
    number = int(text)
    return number if number <= LARGEST else None
