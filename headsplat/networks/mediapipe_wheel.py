"""Imports MediaPipe without its start-up messages and without matplotlib."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

os.environ.setdefault("GLOG_minloglevel", "2")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Discard what C++ libraries write to standard error while they start."""
    # C++ libraries print to file descriptor 2 before their loggers can be configured. Errors are
    # raised as exceptions, so none is lost.
    sys.stderr.flush()
    saved = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(sink, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(sink)


@contextmanager
def loading() -> Iterator[None]:
    """Context in which MediaPipe's modules are imported.

    Its drawing utilities import matplotlib, which takes longer than all other imports together;
    an empty module takes its place.
    """
    names = [n for n in ("matplotlib", "matplotlib.pyplot") if n not in sys.modules]
    sys.modules.update({name: ModuleType(name) for name in names})
    try:
        with quiet_stderr():
            yield
    finally:
        for name in names:
            del sys.modules[name]
