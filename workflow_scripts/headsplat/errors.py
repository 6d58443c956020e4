"""The one exception a user is meant to read."""


class UserError(Exception):
    """A problem the user can mend: one line that says what is wrong, where, and what to do."""


def one_line(error: BaseException, longest: int = 160) -> str:
    """What an error says, for the line of a `UserError`: printable and short.

    Files are often foreign, and libraries echo what stands in them.
    """
    text = shown(str(error), longest)
    return text or type(error).__name__


def shown(text: str, longest: int = 60) -> str:
    """Text of a foreign file for a message: on one line, printable, cut short."""
    text = text[: longest + 1].replace("\n", " ")
    plain = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return plain if len(plain) <= longest else plain[: longest - 3] + "..."
