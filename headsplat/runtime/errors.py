"""The one exception a user is meant to read, and how its line repeats foreign text."""

LONGEST = 100  # characters


class UserError(Exception):
    """A problem the user can mend: one line that says what is wrong, where, and what to do.

    Several problems are several arguments, a line each. Control characters, as names of files may
    hold them, are escaped, so that none makes a line of its own or moves the terminal's cursor.
    """

    def __str__(self) -> str:
        return "\nerror: ".join(printable(str(line)) for line in self.args)


def printable(text: str) -> str:
    """Text with its control characters escaped."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def one_line(error: BaseException, longest: int = 160) -> str:
    """What an error says, for the line of a `UserError`: printable and short.

    Files are often foreign, and libraries echo what stands in them.
    """
    return shown(" ".join(str(error).splitlines()), longest) or type(error).__name__


def shown(text: str, longest: int = LONGEST) -> str:
    """Text of a cell, a name or a file on one line: control characters escaped, cut short.

    Args:
        text: what is repeated.
        longest: characters that are repeated; "..." stands for the others.
    """
    start = text[:longest]
    safe = printable(start)
    # An escape takes several characters.
    return safe[:longest] + ("..." if max(len(text), len(safe)) > longest else "")


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
