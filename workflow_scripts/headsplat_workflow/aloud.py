"""Errors of what a person asks: said where the answer is looked for, not in a log alone."""

from collections.abc import Callable

from headsplat.runtime.errors import UserError


def aloud(main: Callable[[], None]) -> Callable[[], None]:
    """`main`, whose line of error is printed on standard output before it goes on its way.

    Standard error of a rule is its log, of which Snakemake's `--quiet all` shows nothing.
    """

    def answer() -> None:
        try:
            main()
        except UserError as error:
            print(f"error: {error}", flush=True)
            raise
        except SystemExit as end:
            if isinstance(end.code, str):  # the workflow's own way to end in a line
                print(end.code, flush=True)
            raise

    return answer
