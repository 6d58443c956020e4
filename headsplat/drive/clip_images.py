"""Images, mattes and head masks of a subject's clip, by frame id, in batches."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor

from headsplat.drive.look import ClipFiles
from headsplat.frames.packs import FrameStore
from headsplat.masks.decoding import read_rgb
from headsplat.runtime.errors import UserError
from headsplat.runtime.process import available_threads

_HEAD = "_neckhead"


class ClipImages:
    """Random access to a clip's images; a context manager.

    Args:
        files: of the clip.
        ids: frame ids that will be read.
        size: (width, height) that the images must have.

    Raises:
        UserError: a zip cannot be read, or lacks an id; and of `batches`, another size.
    """

    def __init__(self, files: ClipFiles, ids: Sequence[int], size: tuple[int, int]) -> None:
        self._size = size
        with ExitStack() as stack:
            zips = (files.frames, files.alpha, files.parsing)
            self._stores = [stack.enter_context(FrameStore(paths)) for paths in zips]
            for store in self._stores:
                missing = sorted({int(k) for k in ids} - set(store.ids))
                if missing:
                    raise UserError(
                        f"{store.names()}: lacks frame {missing[0]} of the track "
                        f"({len(missing)} frames); make the clip's images again"
                    )
            self._pool = stack.enter_context(ThreadPoolExecutor(available_threads()))
            self._stack = stack.pop_all()

    def __enter__(self) -> "ClipImages":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def batches(self, ids: Sequence[int], batch: int) -> Iterator[Tensor]:
        """Batches in the order of `ids`; the next one is decoded while one is in use.

        Yields:
            (B, H, W, 5) uint8 on the CPU: red, green, blue, matte, and mask of head and neck.
        """
        parts = [ids[k : k + batch] for k in range(0, len(ids), batch)]
        coming = self._submit(parts[0])
        for following in [*parts[1:], ()]:
            ready = coming
            coming = self._submit(following)
            yield torch.from_numpy(np.stack([image.result() for image in ready]))

    def _submit(self, ids: Sequence[int]) -> list[Future[np.ndarray]]:
        """Start to read some images, each once."""
        once = {k: self._pool.submit(self._read, k) for k in {int(k) for k in ids}}
        return [once[int(k)] for k in ids]

    def _read(self, frame_id: int) -> np.ndarray:
        frames, alpha, parsing = self._stores
        image, matte, head = (
            read_rgb(store, frame_id, self._size, role)
            for store, role in ((frames, ""), (alpha, ""), (parsing, _HEAD))
        )
        return np.concatenate([image, matte[..., :1], head[..., :1]], 2)
