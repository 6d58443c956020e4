"""Pack images and masks of an import: cropped, scaled, one zip per chunk."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from headsplat.formats.importing.clip import ImageSource
from headsplat.formats.importing.images import read_image, read_mask, read_matte
from headsplat.formats.importing.record import ImportRecord
from headsplat.frames.crop import Crop
from headsplat.frames.ids import chunk_bounds
from headsplat.frames.images import encode_jpeg, encode_png, open_image
from headsplat.frames.packs import FrameZipWriter
from headsplat.runtime.files import publish
from headsplat.runtime.progress import progress
from headsplat.video.crop import QUALITY, crop_image


def pack_frames(record: Path, crop: Path, chunk: int, n_chunks: int, out: Path) -> None:
    """Write the crops of one chunk, `<id:05d>.jpg`.

    JPEG files that need no cropping or scaling are copied byte for byte.

    Raises:
        UserError: an image cannot be read or has another size than the track says.
    """
    source, window = ImportRecord.load(record), Crop.load(crop)
    whole = (window.x0, window.y0, window.side) == (0, 0, window.size)
    with publish(out) as temporary, FrameZipWriter(temporary, ".jpg") as pack:
        for frame, origin in _chunk(source, "images", chunk, n_chunks):
            image = read_image(origin, source.img_size)
            as_it_is = whole and origin.array is None and _is_rgb_jpeg(origin.path)
            data = (
                origin.path.read_bytes()
                if as_it_is
                else encode_jpeg(crop_image(image, window), QUALITY)
            )
            pack.add(frame, data)


def pack_alpha(record: Path, crop: Path, chunk: int, n_chunks: int, out: Path) -> None:
    """Write the mattes of one chunk, `<id:05d>.png`, 8 bit; errors as `pack_frames`."""
    source, window = ImportRecord.load(record), Crop.load(crop)
    with publish(out) as temporary, FrameZipWriter(temporary, ".png") as pack:
        for frame, image in _chunk(source, "alpha", chunk, n_chunks):
            pack.add(frame, encode_png(_cut(read_matte(image, source.img_size), window)))


def pack_parsing(record: Path, crop: Path, chunk: int, n_chunks: int, out: Path) -> None:
    """Write `<id:05d>_neckhead.png` and `_mouth.png` of one chunk; errors as `pack_frames`."""
    source, window = ImportRecord.load(record), Crop.load(crop)
    mouths = source.parts["mouth_mask"]
    with publish(out) as temporary, FrameZipWriter(temporary, ".png") as pack:
        for frame, image in _chunk(source, "head_mask", chunk, n_chunks):
            for role, part, where in (
                ("_neckhead", "head_mask", image),
                ("_mouth", "mouth_mask", mouths[frame]),
            ):
                mask = _cut(read_mask(where, source.img_size, part), window)
                mask = np.where(mask >= 128, np.uint8(255), np.uint8(0))
                pack.add(frame, encode_png(mask), role=role)


def _chunk(
    source: ImportRecord, part: str, chunk: int, n_chunks: int
) -> Iterator[tuple[int, ImageSource]]:
    """The chunk's ids and images: existing frames are divided evenly over the chunks."""
    cv2.setNumThreads(1)
    first, stop = chunk_bounds(len(source.ids), n_chunks, chunk)
    ids = source.ids[first - 1 : stop - 1]
    for frame in progress(ids, len(ids), f"pack {part} {chunk}"):
        yield frame, source.parts[part][frame]


def _cut(mask: np.ndarray, window: Crop) -> np.ndarray:
    """`crop_image` for (H, W) uint8."""
    return crop_image(np.repeat(mask[..., None], 3, -1), window)[..., 0]


def _is_rgb_jpeg(path: Path) -> bool:
    with open_image(path) as image:
        return image.format == "JPEG" and image.mode == "RGB"
