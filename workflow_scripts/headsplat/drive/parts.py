"""A film in parts of equal length, each kept in scratch as soon as it is complete."""

import os
from collections.abc import Callable
from pathlib import Path

from headsplat.cli import log, progress
from headsplat.scratch import file_digest

# Pictures of a part: a few seconds of film, and a whole number of batches. Each part begins with a
# key frame, which the encoder would place nearly as often by itself.
PART = 128


class FilmParts:
    """The parts that a folder holds, `<number>-<start of its SHA-256>.mp4`.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def complete(self, frames: int, draw: Callable[[Path, int], None]) -> list[Path]:
        """All parts of a film, of which those that are missing or damaged are made.

        Args:
            frames: of the film.
            draw: publishes the part that begins with a frame, counted from 0.
        """
        numbers = range(-(-frames // PART))
        kept = {n: path for n in numbers if (path := self._kept(n)) is not None}
        if kept:
            log.info("%d of %d parts are there", len(kept), len(numbers))
        missing = [n for n in numbers if n not in kept]
        for number in progress(missing, len(missing), f"parts of {PART} pictures"):
            path = self._folder / f"{number:05d}.mp4"
            draw(path, number * PART)
            kept[number] = path.with_name(f"{number:05d}-{file_digest(path)[:16]}.mp4")
            os.replace(path, kept[number])
        return [kept[n] for n in numbers]

    def _kept(self, number: int) -> Path | None:
        for path in self._folder.glob(f"{number:05d}-*.mp4"):
            if path.stem == f"{number:05d}-{file_digest(path)[:16]}":
                return path
            log.warning("%s is damaged: drawing it again", path)
            path.unlink()
        return None
