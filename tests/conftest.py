"""Fixtures shared by all tests."""

import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Of processes that tests start: the library, what the scripts share, and tests/without_linux.
PYTHON_PATH = os.pathsep.join(
    [str(ROOT), str(ROOT / "workflow_scripts"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
).rstrip(os.pathsep)

# A shell's background jobs ignore SIGINT, and so does all they start. Some tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real clips and assets beside the repository; absent on most machines."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the folder of real clips and assets is not on this machine")
    return folder
