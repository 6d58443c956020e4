"""The versions of Snakemake that the workflow runs with.

`failed_jobs`, `literal_names`, `refusals` and `shutdown` replace methods of Snakemake, and
`operate.dag` reads the jobs that it planned. `tests/unit/test_snakemake_version.py` compares those
methods with the ones that the replacements were written for.
"""

from packaging.version import Version
from snakemake.common import __version__

from headsplat.runtime.errors import UserError

# From the first up to, and without, the second.
FIRST, BEYOND = "9.27.1", "9.28"


def require_version(version: str = __version__) -> None:
    """Refuse a Snakemake for which the replaced methods were not looked at.

    Raises:
        UserError: another version.
    """
    if not Version(FIRST) <= Version(version) < Version(BEYOND):
        raise UserError(
            f"Snakemake {version} is not supported, only {FIRST} and later ones before {BEYOND}; "
            f"run: pip install snakemake=={FIRST}"
        )
