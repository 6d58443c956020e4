"""`UserError`, whose message is shown to the user, and escaping of untrusted text in messages."""

LONGEST = 100  # characters of untrusted text in a message


class UserError(Exception):
    """A problem the user can fix: one line that says what is wrong, where, and what to do.

    Several problems are several arguments, one line each. Control characters, which file names may
    contain, are escaped, so that they neither break the line nor move the terminal's cursor.
    """

    def __str__(self) -> str:
        return "\nerror: ".join(printable(str(line)) for line in self.args)


def printable(text: str) -> str:
    """`text` with control characters escaped."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else _escaped(letter) for letter in text)


def one_line(error: BaseException, longest: int = 160) -> str:
    """Message of an exception as printable text on one line of at most `longest` characters.

    Libraries repeat file content in their messages, and files may come from anywhere.
    """
    return shown(" ".join(str(error).splitlines()), longest) or type(error).__name__


def shown(text: str, longest: int = LONGEST) -> str:
    """Untrusted text for a message: control characters escaped, and truncated.

    Args:
        text: text of a cell, a name or a file.
        longest: number of characters before the truncation mark "...".
    """
    start = text[:longest]
    safe = printable(start)
    # Escape sequences lengthen the text, so it is truncated again.
    return safe[:longest] + ("..." if max(len(text), len(safe)) > longest else "")


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")
