"""On PYTHONPATH, takes from headsplat in every Python process what macOS does not offer."""

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
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


def _without_proc(method: Callable[..., Any], absent: Callable[[], Any]) -> Callable[..., Any]:
    """The method of a path, for which nothing is below /proc if headsplat calls it."""

    def call(path: Path, *arguments: Any, **named: Any) -> Any:
        caller = sys._getframe(1).f_code.co_filename
        if "/headsplat" in caller and "/tests/" not in caller and path.parts[:2] == ("/", "proc"):
            return absent()
        return method(path, *arguments, **named)

    return call


def _missing() -> None:
    raise FileNotFoundError(errno.ENOENT, "not on this system")


Path.exists = _without_proc(Path.exists, lambda: False)
for name in ("read_text", "read_bytes", "iterdir", "stat"):
    setattr(Path, name, _without_proc(getattr(Path, name), _missing))
