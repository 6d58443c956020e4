"""Loading of the MediaPipe wheel: quietly, and without what no stage uses of it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

os.environ.setdefault("GLOG_minloglevel", "2")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keep what C++ libraries write to file descriptor 2 while they start.

    They announce themselves before any logger of theirs can be configured; errors come as
    exceptions, so nothing is lost.
    """
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
    """Import MediaPipe's modules within: quietly, and without matplotlib.

    Its drawing tools import matplotlib, which takes longer than all the rest together, in the
    process of every chunk.
    """
    names = [n for n in ("matplotlib", "matplotlib.pyplot") if n not in sys.modules]
    sys.modules.update({name: ModuleType(name) for name in names})
    try:
        with quiet_stderr():
            yield
    finally:
        for name in names:
            del sys.modules[name]
