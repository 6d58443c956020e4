"""Export of a clip in FlashAvatar's dataset layout, readable by the original code."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from headsplat.frames.images import decode_image, encode_jpeg, encode_png
from headsplat.frames.packs import FrameStore, require_same_ids
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish_folder
from headsplat.runtime.progress import progress

# The original reads `alpha/<id>.jpg`; this JPEG quality preserves matte edges.
_ALPHA_QUALITY = 98


def export_dataset(
    frames: Sequence[Path], alpha: Sequence[Path], parsing: Sequence[Path], out: Path
) -> None:
    """Write `imgs/<id>.jpg`, `alpha/<id>.jpg`, `parsing/<id>_neckhead.png` and `_mouth.png`.

    Ids are 1-based with five digits: id k belongs to `checkpoint/<k - 1>.frame`. Images and
    parsing masks are copied byte for byte; mattes become single-channel JPEG, as that code
    expects them.

    Args:
        frames: chunk zips of images.
        alpha: chunk zips of mattes.
        parsing: chunk zips with both masks of every frame.
        out: the folder to write; an existing one is replaced.

    Raises:
        UserError: an id missing in one of the parts, images that are not square or differ in size,
            or masks that are not single-channel; nothing is written then.
    """
    with (
        FrameStore(frames) as images,
        FrameStore(alpha) as mattes,
        FrameStore(parsing) as masks,
        publish_folder(out) as folder,
    ):
        ids = require_same_ids({"frames": images.ids, "alpha": mattes.ids, "parsing": masks.ids})
        for name in ("imgs", "alpha", "parsing"):
            (folder / name).mkdir()
        size: tuple[int, int] | None = None
        for frame in progress(ids, len(ids), "export"):
            stem = f"{frame:05d}"
            image = images.read(frame)
            size = size or _checked(image, "RGB", None, f"image {stem}")
            _checked(image, "RGB", size, f"image {stem}")
            (folder / "imgs" / f"{stem}.jpg").write_bytes(image)
            matte = mattes.read(frame)
            _checked(matte, "L", size, f"matte {stem}")
            encoded = encode_jpeg(decode_image(matte), quality=_ALPHA_QUALITY)
            (folder / "alpha" / f"{stem}.jpg").write_bytes(encoded)
            for role in ("_neckhead", "_mouth"):
                mask = masks.read(frame, role)
                _checked(mask, "L", size, f"mask {stem}{role}")
                (folder / "parsing" / f"{stem}{role}.png").write_bytes(_hard(mask))


def _hard(mask: bytes) -> bytes:
    """An encoded mask of 0 and 255, as FlashAvatar has it: soft edges are cut at one half."""
    plane = decode_image(mask)
    hard = np.where(plane > 127, np.uint8(255), np.uint8(0))
    return mask if np.array_equal(plane, hard) else encode_png(hard)


def _checked(data: bytes, mode: str, size: tuple[int, int] | None, what: str) -> tuple[int, int]:
    """Size of an encoded image from its header; a wrong mode or size is a `UserError`."""
    with Image.open(io.BytesIO(data)) as image:
        found = image.size
        if image.mode != mode or found != (size or (found[0], found[0])):
            expected = "square" if size is None else f"{size[0]}x{size[1]}"
            raise UserError(
                f"{what}: mode {image.mode} of {found[0]}x{found[1]} pixels, expected {mode} "
                f"{expected}; remake the chunks"
            )
    return found
