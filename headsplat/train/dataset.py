"""Training images as uint8: resident on the device if they fit, else streamed by a prefetcher.

An image is five byte planes (H, W, 5): red, green, blue, matte, mouth. The matte is alpha times the
head mask. At soft edges of the matte the background is removed from the colors (foreground
estimation), which avoids halos on other backgrounds.
"""

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from headsplat.frames.images import decode_image
from headsplat.frames.packs import FrameStore
from headsplat.masks.foreground import foreground_colors
from headsplat.runtime.errors import UserError
from headsplat.runtime.logs import log
from headsplat.runtime.process import available_threads
from headsplat.runtime.progress import progress

PLANES = 5
# Number of steps that the prefetcher decodes ahead.
AHEAD = 4


class ImageReader:
    """Decodes the images of frames from the packed chunks.

    Args:
        frames: zips of crops, `00001.jpg`.
        alpha: zips of mattes, `00001.png`.
        parsing: zips with `00001_neckhead.png` and `00001_mouth.png`.
        width: the track's image width; images of another size are a `UserError`.
        height: likewise.
    """

    def __init__(
        self,
        frames: Sequence[Path],
        alpha: Sequence[Path],
        parsing: Sequence[Path],
        width: int,
        height: int,
    ) -> None:
        self._frames, self._alpha, self._parsing = map(FrameStore, (frames, alpha, parsing))
        self.width, self.height = width, height
        # A zip archive has one file position: reads are serialized, decoding is not.
        self._lock = Lock()

    def has(self, frame_id: int) -> bool:
        """Whether all images of a frame are there."""
        parsing = all((frame_id, role) in self._parsing for role in ("_neckhead", "_mouth"))
        return parsing and all((frame_id, "") in pack for pack in (self._frames, self._alpha))

    def read(self, frame_id: int) -> np.ndarray:
        """(H, W, 5) uint8 planes of one frame."""
        return self.read_person(frame_id)[..., :PLANES]

    def read_person(self, frame_id: int) -> np.ndarray:
        """(H, W, 6) uint8 planes of one frame, the last one the matte of the whole person."""
        with self._lock:
            data = [
                self._frames.read(frame_id),
                self._alpha.read(frame_id),
                self._parsing.read(frame_id, "_neckhead"),
                self._parsing.read(frame_id, "_mouth"),
            ]
        image, alpha, head, mouth = map(decode_image, data)
        expected = (self.height, self.width)
        for what, plane in (("frame", image), ("alpha", alpha), ("head", head), ("mouth", mouth)):
            if plane.shape[:2] != expected or plane.ndim != (3 if what == "frame" else 2):
                raise UserError(
                    f"frame {frame_id}: {what} image has shape {list(plane.shape)}, the track "
                    f"says {self.width}x{self.height}; remake the chunks"
                )
        image = foreground_colors(image, alpha)
        matte = (alpha.astype(np.uint16) * head + 127) // 255
        planes = [matte.astype(np.uint8), mouth, alpha]
        return np.concatenate([image, np.stack(planes, -1)], -1)

    def close(self) -> None:
        """Close the zips."""
        for store in (self._frames, self._alpha, self._parsing):
            store.close()


class PersonReader:
    """Images of the whole person: red, green, blue, matte, and the matte outside of the head.

    Args:
        reader: of the same frames; it stays open.
    """

    def __init__(self, reader: ImageReader) -> None:
        self._reader = reader
        self.width, self.height = reader.width, reader.height

    def read(self, frame_id: int) -> np.ndarray:
        """(H, W, 5) uint8 planes of one frame."""
        planes = self._reader.read_person(frame_id)
        matte = planes[..., 5:]
        return np.concatenate([planes[..., :3], matte, matte - planes[..., 3:4]], -1)


class ResidentImages:
    """All images in one byte tensor on the device.

    Attributes:
        planes: (T, H, W, 5) uint8, one image a row.
    """

    def __init__(
        self, reader: ImageReader | PersonReader, ids: Sequence[int], device: torch.device
    ) -> None:
        images = torch.empty(
            (len(ids), reader.height, reader.width, PLANES), dtype=torch.uint8, device=device
        )
        with ThreadPoolExecutor(available_threads()) as pool:
            decoded = pool.map(reader.read, ids)
            for row, planes in enumerate(progress(decoded, len(ids), "images")):
                images[row] = torch.from_numpy(planes)
        self.planes = images

    def prepare(self, step: int) -> None:
        """No-op: all images are resident."""

    def places(self, rows: Tensor) -> Tensor:
        """Indices into `planes` of the images of a step's rows, (B,) long."""
        return rows

    def rows(self, rows: Sequence[int]) -> Tensor:
        """(n, H, W, 5) uint8 of some rows."""
        return self.planes[list(rows)]

    def close(self) -> None:
        """No-op: no files are open."""


class StreamedImages:
    """Images decoded ahead by a thread pool, with an LRU cache of limited size.

    Attributes:
        planes: (B, H, W, 5) uint8 on the device: images of the last prepared step.
    """

    def __init__(
        self,
        reader: ImageReader | PersonReader,
        ids: Sequence[int],
        plan: Tensor,
        device: torch.device,
        capacity: int,
    ) -> None:
        self._reader, self._ids = reader, list(ids)
        self._plan, self._device = plan.tolist(), device
        batch = plan.shape[1]
        self._capacity = max(capacity, (AHEAD + 1) * batch)
        shape = (batch, reader.height, reader.width, PLANES)
        self.planes = torch.zeros(shape, dtype=torch.uint8, device=device)
        self._places = torch.arange(batch, device=device)
        # Copies to a GPU are asynchronous: a staging buffer is reused once its copy is done.
        pin = device.type == "cuda"
        self._staging = [
            (torch.empty(shape, dtype=torch.uint8, pin_memory=pin), _Copied(pin)) for _ in range(2)
        ]
        self._cache: OrderedDict[int, Future[np.ndarray]] = OrderedDict()
        self._pool = ThreadPoolExecutor(available_threads())

    def _fetch(self, row: int) -> "Future[np.ndarray]":
        if row not in self._cache:
            self._cache[row] = self._pool.submit(self._reader.read, self._ids[row])
        self._cache.move_to_end(row)
        while len(self._cache) > self._capacity:
            self._cache.popitem(last=False)
        return self._cache[row]

    def prepare(self, step: int) -> None:
        """Load the images of a step of the plan into `planes`; prefetch those of the next steps."""
        wanted = [self._fetch(row) for row in self._plan[step]]
        for later in self._plan[step + 1 : step + 1 + AHEAD]:
            for row in later:
                self._fetch(row)
        staging, done = self._staging[step % 2]
        done.wait()
        for place, future in enumerate(wanted):
            staging[place] = torch.from_numpy(future.result())
        self.planes.copy_(staging, non_blocking=True)
        done.record()

    def places(self, rows: Tensor) -> Tensor:
        """Indices into `planes` of the images of a step's rows, (B,) long."""
        del rows
        return self._places

    def rows(self, rows: Sequence[int]) -> Tensor:
        """(n, H, W, 5) uint8 of some rows."""
        planes = np.stack([self._fetch(row).result() for row in rows])
        return torch.from_numpy(planes).to(self._device)

    def close(self) -> None:
        """Stop prefetching."""
        self._pool.shutdown(wait=False, cancel_futures=True)


class _Copied:
    """CUDA event after an asynchronous copy on the current stream; no-op on a CPU."""

    def __init__(self, cuda: bool) -> None:
        self._event = torch.cuda.Event() if cuda else None

    def record(self) -> None:
        if self._event:
            self._event.record()

    def wait(self) -> None:
        if self._event:
            self._event.synchronize()


def open_images(
    reader: ImageReader | PersonReader,
    ids: Sequence[int],
    plan: Tensor,
    device: torch.device,
    limit_mib: int,
    cache_mib: int,
) -> ResidentImages | StreamedImages:
    """Keep the images of `ids` resident if they need at most `limit_mib`, else stream them.

    Args:
        reader: image reader.
        ids: frame id of each row.
        plan: (steps, B) long, the rows of each step.
        device: torch device of the batches.
        limit_mib: limit of device memory for images, MiB.
        cache_mib: limit of host memory for streamed images, MiB.
    """
    each = reader.height * reader.width * PLANES
    need = len(ids) * each / 2**20
    log.info(
        "%d images %dx%d need %.0f MiB on %s (limit %d MiB): %s",
        len(ids), reader.width, reader.height, need, device, limit_mib,
        "resident" if need <= limit_mib else "streamed",
    )  # fmt: skip
    if need <= limit_mib:
        return ResidentImages(reader, ids, device)
    return StreamedImages(reader, ids, plan, device, cache_mib * 2**20 // each)
