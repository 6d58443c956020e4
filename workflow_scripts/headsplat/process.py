"""Process hygiene of a stage: it dies with the workflow that started it."""

import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1
PARENT_VARIABLE = "HEADSPLAT_DIE_WITH_PARENT"


def die_with_parent() -> None:
    """Ask Linux to SIGKILL this process when its parent dies.

    Without it a stage survives a SIGKILL of Snakemake and races the resumed run for the same
    files. Only the workflow sets the variable: a script started by hand outlives its shell.
    """
    if os.environ.get(PARENT_VARIABLE) != "1":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:  # the parent died before the call above took effect
        os._exit(1)


def prepare_stages() -> None:
    """Set the environment that the workflow's jobs inherit.

    Stages run with the Python that runs Snakemake, unless a conda environment is activated
    later, and die with it.
    """
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ[PARENT_VARIABLE] = "1"
