"""What a check found: one line of the doctor's table, and what to do about it."""

from dataclasses import dataclass

OK, WARNING, FAILS = "ok", "warning", "FAILS"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: a few words.
        state: `OK`; `WARNING` for what costs speed or quality; `FAILS` for what a run cannot do
            without.
        says: what was found.
        fix: what to do; empty if all is well.
    """

    what: str
    state: str
    says: str
    fix: str = ""

    @property
    def line(self) -> str:
        """What is wrong and what to do, in one line."""
        return f"{self.what}: {self.says}; {self.fix}"


def ok(what: str, says: str) -> Finding:
    """All is well."""
    return Finding(what, OK, says)


def warning(what: str, says: str, fix: str) -> Finding:
    """A run works, but worse than it could."""
    return Finding(what, WARNING, says, fix)


def fails(what: str, says: str, fix: str) -> Finding:
    """A run does not work."""
    return Finding(what, FAILS, says, fix)
