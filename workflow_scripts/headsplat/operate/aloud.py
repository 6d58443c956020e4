"""Errors of what a person asks: said where the answer is looked for, not in a log alone."""

from collections.abc import Callable

from headsplat.errors import UserError


def aloud(main: Callable[[], None]) -> Callable[[], None]:
    """`main`, whose `UserError` is printed on standard output before it goes on its way.

    Standard error of a rule is its log, of which Snakemake's `--quiet all` shows nothing.
    """

    def answer() -> None:
        try:
            main()
        except UserError as error:
            print(f"error: {error}", flush=True)
            raise

    return answer
