"""A video in parts of equal length, each kept in scratch as soon as it is complete."""

import os
from collections.abc import Callable
from pathlib import Path

from headsplat.runtime.fingerprint import file_digest
from headsplat.runtime.logs import log
from headsplat.runtime.progress import progress

# Images of a part, a whole number of every stage's batches. A kill costs half a part on average,
# 2 % of a video of 400 images. Each begins with a key frame, and the encoder plans within it only:
# an overlay of 400 images at 512 px gets 5.6 % larger (2.3 % in parts of 32, 0.1 % of 128).
PART = 16


class VideoParts:
    """The parts that a folder holds, `<number>-<start of the file's SHA-256>.mp4`.

    Args:
        folder: where they lie.
        beside: suffixes of further files that each part has, such as its frames' measures.
    """

    def __init__(self, folder: Path, *beside: str) -> None:
        self._folder, self._suffixes = folder, (".mp4", *beside)

    def complete(self, frames: int, make: Callable[..., None]) -> tuple[list[Path], ...]:
        """All parts of a video, of which those that are missing or damaged are made.

        Args:
            frames: of the video.
            make: (slice of the video's frames, path of each suffix) publishes a part's files.

        Returns:
            For each suffix the files in order, first the videos.
        """
        numbers = range(-(-frames // PART))
        kept = self._kept()
        missing = [n for n in numbers if any((n, suffix) not in kept for suffix in self._suffixes)]
        if len(missing) < len(numbers):
            log.info("%d of %d parts are there", len(numbers) - len(missing), len(numbers))
        for number in progress(missing, len(missing), f"parts of {PART} images"):
            paths = [self._folder / f"{number:05d}{suffix}" for suffix in self._suffixes]
            make(slice(number * PART, min((number + 1) * PART, frames)), *paths)
            for path in paths:
                kept[number, path.suffix] = named = path.with_stem(_stem(number, path))
                os.replace(path, named)
        return tuple([kept[n, suffix] for n in numbers] for suffix in self._suffixes)

    def _kept(self) -> dict[tuple[int, str], Path]:
        """Number and suffix -> file, of those that are as they were written."""
        kept = {}
        for suffix in self._suffixes:
            for path in self._folder.glob(f"[0-9]*-*{suffix}"):
                number = int(path.stem.partition("-")[0])
                if path.stem == _stem(number, path):
                    kept[number, suffix] = path
                else:
                    log.warning("%s is damaged: making it again", path)
                    path.unlink()
        return kept


def _stem(number: int, path: Path) -> str:
    return f"{number:05d}-{file_digest(path)[:16]}"
