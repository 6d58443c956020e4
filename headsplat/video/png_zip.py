"""A zip of PNG images with alpha, `00001.png` and so on, which editors read as a sequence."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import numpy as np

from headsplat.frames.images import encode_png
from headsplat.frames.packs import FrameStore, FrameZipWriter
from headsplat.runtime.files import publish


class PngZipWriter:
    """Context manager with the interface of `VideoWriter`; the zip is published when complete.

    Args:
        path: the zip to write.
        first: number of the first image.
    """

    def __init__(self, path: Path | str, first: int = 1) -> None:
        self._path, self._number = Path(path), first
        self._stack = ExitStack()

    def __enter__(self) -> "PngZipWriter":
        with ExitStack() as stack:
            temporary = stack.enter_context(publish(self._path))
            self._pack = stack.enter_context(FrameZipWriter(temporary, ".png"))
            self._stack = stack.pop_all()
        return self

    def write(self, image: np.ndarray) -> None:
        """Append one image, uint8 (H, W, 4) with straight alpha; what is transparent is black."""
        self._pack.add(self._number, encode_png(image * (image[..., 3:] > 0)))
        self._number += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def join_png_zips(parts: Sequence[Path], out: Path) -> None:
    """Copy the images of several zips, numbered through, into one."""
    with (
        FrameStore(parts) as store,
        publish(out) as temporary,
        FrameZipWriter(temporary, ".png") as pack,
    ):
        for number in store.ids:
            pack.add(number, store.read(number))
