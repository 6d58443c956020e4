"""The clean plate: a clip's background without the person, for a camera that stands still.

Each pixel is the median over the images in which the matte calls it background. What the person
always covers is filled smoothly from around it. A background that moves is blurred.
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
from headsplat.masks.plate_samples import PlateSamples
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish
from headsplat.runtime.logs import log
from headsplat.runtime.process import available_threads
from headsplat.runtime.progress import progress

# Images that are looked at, evenly spread over the clip.
_MOST_IMAGES = 600
# Least distance of a background pixel to the person, over the image width.
_MARGIN = 6 / 512
# Median deviation, of 255, above which the camera or the background seems to move, and the blur
# that then hides the grain of medians of unlike colors, over the image width.
_MOVING, _BLUR = 8.0, 1 / 32


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
        samples: PlateSamples | None = None
        for image, matte in progress(_decoded(images, mattes, seen), len(seen), "clean plate"):
            if samples is None:
                samples = PlateSamples(*image.shape[:2], _MARGIN)
            samples.add(image, matte)
    plate, spread, count = samples.median()
    known = count > 0
    if not known.any():
        raise UserError(
            f"{mattes.names()}: show no background in any image; choose a color, and another body "
            "than paste"
        )
    sure = spread[count >= samples.kept]
    moves = len(sure) > 0 and np.median(sure) > _MOVING
    if moves:
        log.warning("the background moves, so it is blurred; a camera that stands still keeps it")
    hidden = 1 - known.mean()
    log.info("the person always covers %.0f %% of the image, which is filled", 100 * hidden)
    value = as_planes(torch.from_numpy(plate)[None].float())
    weight = torch.from_numpy(known)[None, None].float()
    filled = fill_holes(value, weight)[0].movedim(0, -1).round().clamp(0, 255).byte().numpy()
    if moves:
        filled = cv2.GaussianBlur(filled, (0, 0), _BLUR * filled.shape[1])
    with publish(out) as temporary:
        temporary.write_bytes(encode_png(filled))


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
