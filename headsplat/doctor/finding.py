"""Result of a check: state, finding and fix, one line of the doctor's table."""

from dataclasses import dataclass

OK, WARNING, FAILS = "ok", "warning", "FAILS"


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes:
        what: name of the check.
        state: `OK`; `WARNING` if it costs speed or quality; `FAILS` if a run is impossible.
        says: what was found.
        fix: what to do; empty if `OK`.
    """

    what: str
    state: str
    says: str
    fix: str = ""

    @property
    def line(self) -> str:
        """Problem and fix in one line."""
        return f"{self.what}: {self.says}; {self.fix}"


def ok(what: str, says: str) -> Finding:
    """The check passed."""
    return Finding(what, OK, says)


def warning(what: str, says: str, fix: str) -> Finding:
    """A run works, but slower or with lower quality."""
    return Finding(what, WARNING, says, fix)


def fails(what: str, says: str, fix: str) -> Finding:
    """A run does not work."""
    return Finding(what, FAILS, says, fix)
