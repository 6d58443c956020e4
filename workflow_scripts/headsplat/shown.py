"""What a user wrote, as a message repeats it."""

LONGEST = 100  # characters


def shown(text: str, longest: int = LONGEST) -> str:
    """The text on one line: control characters escaped, and no more than its first characters.

    Args:
        text: of a cell, a header or a file's name.
        longest: characters that are repeated.
    """
    start = text[:longest]
    safe = "".join(letter if letter.isprintable() else _escaped(letter) for letter in start)
    # An escape takes several characters.
    return safe[:longest] + ("..." if max(len(text), len(safe)) > longest else "")


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
