"""Read an image, matte or mask of an import as an array, with its size checked."""

from pathlib import Path

import numpy as np

from headsplat.formats.importing.clip import ImageSource
from headsplat.frames.images import open_image, pixels
from headsplat.masks.labels import BISENET, CELEBAMASK, masks_from_labels
from headsplat.runtime.errors import UserError, one_line
from headsplat.runtime.npz import Npz
from headsplat.runtime.zips import BROKEN

_ORDERS = {"bisenet": BISENET, "celebamask": CELEBAMASK}


def read_image(image: ImageSource, img_size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 RGB.

    Args:
        image: location of the image.
        img_size: expected height and width.

    Raises:
        UserError: it cannot be read, or has another size.
    """
    pixels = _pixels(image, img_size, convert="RGB")
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, -1)


def read_matte(image: ImageSource, img_size: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8; errors as `read_image`."""
    pixels = _pixels(image, img_size, convert="L")
    return pixels if pixels.ndim == 2 else pixels[..., 0]


def read_mask(image: ImageSource, img_size: tuple[int, int], part: str) -> np.ndarray:
    """(H, W) uint8, the mask `part` ("head_mask" or "mouth_mask"), 128 and more inside.

    Raises:
        UserError: as `read_image`; unknown class ids; a mask of 0 and 1 instead of 0 and 255.
    """
    if image.labels is None:
        mask = read_matte(image, img_size)
        if mask.max(initial=0) == 1:
            raise UserError(f"{_name(image)}: its pixels are 0 and 1; write masks as 0 and 255")
        return mask
    labels = _pixels(image, img_size, convert=None)
    labels = labels if labels.ndim == 2 else labels[..., 0]
    try:
        head, mouth = masks_from_labels(labels.astype(np.int64), _ORDERS[image.labels])
    except ValueError as error:
        raise UserError(f"{_name(image)}: {error}; give the parser's class ids") from error
    return head if part == "head_mask" else mouth


def _name(image: ImageSource) -> str:
    return str(image.path) if image.array is None else f"{image.path}: '{image.array}'"


def _pixels(image: ImageSource, img_size: tuple[int, int], convert: str | None) -> np.ndarray:
    if image.array is None:
        pixels = _file(image.path, img_size, convert)
    else:
        pixels = _array(image)
        _check_size(_name(image), pixels.shape[:2] if pixels.ndim in (2, 3) else (), img_size)
    if pixels.dtype.kind == "f":
        pixels = np.rint(np.clip(pixels, 0, 1) * 255)
    return pixels if convert is None else pixels.astype(np.uint8)


def _check_size(name: str, size: tuple[int, ...], img_size: tuple[int, int]) -> None:
    if size != img_size:
        shown = " x ".join(map(str, size[::-1]))
        raise UserError(
            f"{name}: is {shown} pixels, the track is of {img_size[1]} x {img_size[0]}; "
            "give the images that belong to it"
        )


def _file(path: Path, img_size: tuple[int, int], convert: str | None) -> np.ndarray:
    """Pixels of an image file; class ids (`convert` None) keep their values, palette or not."""
    with open_image(path) as image:
        _check_size(str(path), (image.height, image.width), img_size)
        return np.array(image) if convert is None else pixels(image, convert)


def _array(image: ImageSource) -> np.ndarray:
    try:
        with Npz(image.path) as archive:
            array = archive.read(image.array)
        if array.dtype.kind not in "biuf":
            raise ValueError("it holds no numbers")
    except BROKEN as error:
        raise UserError(
            f"{_name(image)}: cannot be read ({one_line(error)}); export the file again"
        ) from error
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    return array
