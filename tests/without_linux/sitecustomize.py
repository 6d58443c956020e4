"""On PYTHONPATH, takes from every Python process what macOS does not offer."""

import ctypes
import errno
import os
from typing import Any

for name in ("sched_getaffinity", "sched_setaffinity", "memfd_create", "pipe2"):
    if hasattr(os, name):
        delattr(os, name)
if hasattr(errno, "EREMOTEIO"):
    del errno.EREMOTEIO

_find = ctypes.CDLL.__getattr__


def _without_prctl(library: ctypes.CDLL, name: str) -> Any:
    if name == "prctl":
        raise AttributeError("prctl")
    return _find(library, name)


ctypes.CDLL.__getattr__ = _without_prctl
