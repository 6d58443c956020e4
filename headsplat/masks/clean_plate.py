"""The clean plate: a clip's background without the person, for a camera that stands still.

Each pixel is the median over the images in which the matte calls it background. What the person
always covers is filled smoothly from around it.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import torch

from headsplat.frames.images import encode_png, image_size
from headsplat.frames.packs import FrameStore, require_same_ids
from headsplat.masks.decoding import read_rgb
from headsplat.masks.fill import as_planes, fill_holes
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish
from headsplat.runtime.logs import log
from headsplat.runtime.process import available_threads
from headsplat.runtime.progress import progress

# Images that are looked at, evenly spread over the clip, and values kept of each pixel.
_MOST_IMAGES, _KEPT = 600, 31
# Largest matte of a background pixel, and its least distance to the person over the image width.
_CLEAR, _MARGIN = 4, 6 / 512
# Median deviation, of 255, above which the camera or the background seems to move.
_MOVING = 8.0
_ROWS = 64


def make_clean_plate(frames: Sequence[Path], alpha: Sequence[Path], out: Path) -> None:
    """Write the clean plate of a clip as PNG; memory does not grow with the clip.

    Args:
        frames: zips of the clip's images.
        alpha: zips of its mattes.
        out: the image to write.

    Raises:
        UserError: a zip cannot be read, images and mattes do not belong together, or no pixel is
            background in any image.
    """
    cv2.setNumThreads(available_threads())
    with FrameStore(frames) as images, FrameStore(alpha) as mattes:
        ids = require_same_ids({images.names(): images.ids, mattes.names(): mattes.ids})
        if not ids:
            raise UserError(f"{images.names()}: hold no images; make the frames again")
        places = np.linspace(0, len(ids) - 1, min(len(ids), _MOST_IMAGES)).round().astype(int)
        seen = [ids[k] for k in places]
        samples: _Samples | None = None
        for image, matte in progress(_decoded(images, mattes, seen), len(seen), "clean plate"):
            if samples is None:
                samples = _Samples(*image.shape[:2])
            samples.add(image, matte)
    plate, known = samples.median()
    if not known.any():
        raise UserError(
            f"{mattes.names()}: show no background in any image; choose a color, and another body "
            "than paste"
        )
    hidden = 1 - known.mean()
    log.info("the person always covers %.0f %% of the image, which is filled", 100 * hidden)
    value = as_planes(torch.from_numpy(plate)[None].float())
    weight = torch.from_numpy(known)[None, None].float()
    filled = fill_holes(value, weight)[0].movedim(0, -1).round().clamp(0, 255).byte()
    with publish(out) as temporary:
        temporary.write_bytes(encode_png(filled.numpy()))


def _decoded(
    images: FrameStore, mattes: FrameStore, ids: Sequence[int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Images and mattes in order, decoded a few ahead; all of the first one's size."""
    size = image_size(images.read(ids[0]), f"frame {ids[0]} of {images.names()}")

    def load(frame_id: int) -> tuple[np.ndarray, np.ndarray]:
        return read_rgb(images, frame_id, size), read_rgb(mattes, frame_id, size)[..., 0]

    threads = available_threads()
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(ids), 4 * threads):
            yield from pool.map(load, ids[first : first + 4 * threads])


class _Samples:
    """Up to `_KEPT` values of each background pixel: reservoir sampling, the same in every run."""

    def __init__(self, height: int, width: int) -> None:
        self._kept = np.zeros((_KEPT, height, width, 3), np.uint8)
        self._count = np.zeros((height, width), np.int32)
        self._random = np.random.default_rng(0)
        reach = max(1, round(_MARGIN * width))
        self._kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))

    def add(self, image: np.ndarray, matte: np.ndarray) -> None:
        person = cv2.dilate((matte > _CLEAR).astype(np.uint8), self._kernel)
        rows, columns = np.nonzero(person == 0)
        count = self._count[rows, columns]
        slot = np.where(count < _KEPT, count, self._random.integers(0, count + 1))
        taken = slot < _KEPT
        rows, columns, slot = rows[taken], columns[taken], slot[taken]
        self._kept[slot, rows, columns] = image[rows, columns]
        self._count[person == 0] += 1

    def median(self) -> tuple[np.ndarray, np.ndarray]:
        """(H, W, 3) uint8 median, and (H, W) bool where there is one."""
        plate = np.zeros(self._kept.shape[1:], np.uint8)
        spread = []
        number = np.arange(_KEPT)[:, None, None, None]
        for first in range(0, len(plate), _ROWS):
            rows = slice(first, first + _ROWS)
            count = self._count[rows].clip(0, _KEPT)[None, ..., None]
            # Empty slots sort last.
            values = np.where(number < count, self._kept[:, rows], np.int16(256))
            values.sort(0)
            middle = np.take_along_axis(values, np.maximum(count - 1, 0) // 2, 0)[0]
            plate[rows] = middle.clip(0, 255)
            apart = np.where(number < count, np.abs(values - middle), 0).mean((0, 3))
            spread.append(apart[self._count[rows] >= _KEPT])
        spread = np.concatenate(spread)
        if len(spread) and np.median(spread) > _MOVING:
            log.warning("the background moves: a camera that stands still gives a better one")
        return plate, self._count > 0
