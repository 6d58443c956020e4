"""Values that are made of files, kept until one of the files changes."""

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")
Stamps = tuple[tuple[str, int, int, int], ...]


def stamps(paths: Sequence[Path]) -> Stamps:
    """What changes when one of the files is written anew; missing files are left out."""
    found = []
    for path in paths:
        try:
            state = os.stat(path)
        except OSError:
            continue
        found.append((str(path), state.st_mtime_ns, state.st_size, state.st_ino))
    return tuple(found)


class Cached(Generic[Value]):
    """The last value of a function, made again when its files change; thread-safe.

    Args:
        make: (paths, *more) -> value; it may raise, and is then called again the next time.
        drop: called with a value that is replaced, such as to close its files.
    """

    def __init__(
        self,
        make: Callable[..., Value],
        drop: Callable[[Value], None] = lambda value: None,
    ) -> None:
        self._make, self._drop = make, drop
        self._lock = threading.Lock()
        self._made_of: tuple[Stamps, tuple[Any, ...]] | None = None
        self._value: list[Value] = []

    def get(self, paths: Sequence[Path], *more: Any) -> Value:
        """The value of the files as they are now, and of further arguments."""
        with self._lock:
            now = stamps(paths), more
            if now == self._made_of:
                return self._value[0]
            made = self._make(paths, *more)
            for old in self._value:
                self._drop(old)
            self._value, self._made_of = [made], now
            return made
