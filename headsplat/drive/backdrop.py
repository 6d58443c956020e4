"""Backgrounds of driven videos: what is behind the rendered Gaussians, or alpha."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from headsplat.drive.look import TRANSPARENT, Look
from headsplat.frames.images import open_image, upright
from headsplat.masks.fill import as_planes, fill_holes

# Colors of pixels with less alpha are those of the pixels around them.
_LEAST = 0.02


class Backdrop:
    """Puts rendered images on a background.

    Args:
        look: resolved.
        plate: the clip's background without the person; read for the background `own`.
        size: (width, height) of the images.
        alpha: whether images get an alpha channel.
        device: of the images.

    Attributes:
        color: (3,) what images must be rendered on: the color itself, or black.

    Raises:
        UserError: the background's image cannot be read.
    """

    def __init__(
        self,
        look: Look,
        plate: Path | None,
        size: tuple[int, int],
        alpha: bool,
        device: torch.device,
    ) -> None:
        self._alpha = alpha
        self.color = torch.tensor(look.color or (0.0, 0.0, 0.0))
        self._transparent = look.background == TRANSPARENT
        path = Path(look.image) if look.image else plate
        self._image: Tensor | None = None
        if not self._transparent and look.color is None and path is not None:
            self._image = read_backdrop(path, size).to(device)

    def finish(self, color: Tensor, alpha: Tensor) -> Tensor:
        """Images as they are written, on the device.

        Args:
            color: (B, H, W, 3) rendered on `self.color`, in 0..1.
            alpha: (B, H, W) in 0..1.

        Returns:
            (B, H, W, 3) uint8; with an alpha channel (B, H, W, 4), straight.
        """
        if self._image is not None:
            color = color + (1 - alpha[..., None]) * self._image
        if not self._alpha:
            return _bytes(color)
        cover = alpha.clamp(0, 1) if self._transparent else torch.ones_like(alpha)
        if self._transparent:
            color = _straight(color, cover)
        return _bytes(torch.cat([color, cover[..., None]], -1))


def read_backdrop(path: Path, size: tuple[int, int]) -> Tensor:
    """An image scaled to cover `size`, cut at the middle; (H, W, 3) float32 in 0..1.

    It is turned as its EXIF data say, and what is transparent is white.

    Raises:
        UserError: it is not an image that can be read.
    """
    with open_image(path) as image:
        rgb = upright(image)
    width, height = size
    scale = max(width / rgb.shape[1], height / rgb.shape[0])
    # The part that is shown is cut first, so that a long strip is not scaled as a whole.
    shown = (min(rgb.shape[0], round(height / scale)), min(rgb.shape[1], round(width / scale)))
    top, left = ((have - want) // 2 for have, want in zip(rgb.shape, shown, strict=False))
    cut = rgb[top : top + max(shown[0], 1), left : left + max(shown[1], 1)]
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    scaled = cut if cut.shape[1::-1] == size else cv2.resize(cut, size, interpolation=how)
    return torch.from_numpy(np.ascontiguousarray(scaled)).float() / 255


def _straight(color: Tensor, alpha: Tensor) -> Tensor:
    """Colors over alpha; continued where there is little, so that codecs leave no dark rim."""
    cover = as_planes(alpha)
    known = (cover > _LEAST).to(cover)
    straight = as_planes(color) / cover.clamp_min(_LEAST)
    return fill_holes(straight.clamp(0, 1), known).movedim(1, -1)


def _bytes(color: Tensor) -> Tensor:
    return (color * 255).round().clamp(0, 255).byte()
