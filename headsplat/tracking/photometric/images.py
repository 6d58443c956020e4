"""Pyramids of brightness and matte of a clip's frames, sampled at points."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, conv2d, grid_sample, pad

from headsplat.frames.images import decode_image
from headsplat.frames.packs import FrameStore
from headsplat.runtime.errors import UserError
from headsplat.runtime.process import available_threads

# Green channel: best sampled by cameras. In a single channel, brightness is albedo times light.
CHANNEL = 1
# Blur of every pyramid level, in its pixels.
BLUR = 1.0


class BrightnessReader:
    """Frames of one clip, by id.

    Args:
        frames: `frames/*.zip`.
        mattes: `alpha/*.zip`, or none.
        size: expected side of the square images.

    Attributes:
        size: that side, pixels.
    """

    def __init__(self, frames: Sequence[Path], mattes: Sequence[Path], size: int) -> None:
        self._frames = FrameStore(frames)
        self._mattes = FrameStore(mattes) if mattes else None
        self.size = size

    def read(self, ids: Sequence[int]) -> Tensor:
        """(n, 2, H, W) uint8: brightness and matte.

        Raises:
            UserError: an image is missing or has another size than the track's.
        """
        out = np.full((len(ids), 2, self.size, self.size), 255, dtype=np.uint8)
        with ThreadPoolExecutor(available_threads()) as pool:
            for _ in pool.map(self._read_one, ids, out):
                pass
        return torch.from_numpy(out)

    def _read_one(self, frame: int, out: np.ndarray) -> None:
        image = decode_image(self._frames.read(frame))
        if image.shape[:2] != out.shape[1:]:
            height, width = image.shape[:2]
            raise UserError(
                f"frame {frame}: the image has {width}x{height} pixels, the track was made "
                f"for {self.size}x{self.size}; track the clip again"
            )
        out[0] = image[..., CHANNEL]
        if self._mattes is not None:
            out[1] = decode_image(self._mattes.read(frame))

    def __enter__(self) -> "BrightnessReader":
        return self

    def __exit__(self, *_: object) -> None:
        self._frames.close()
        if self._mattes is not None:
            self._mattes.close()


def sample_planes(planes: Tensor, pixels: Tensor, factor: int) -> tuple[Tensor, Tensor, Tensor]:
    """Sample brightness, its gradient, and the matte at points.

    Args:
        planes: (n, 2, H, W) uint8.
        pixels: (n, M, 2) continuous pixels of the full image.
        factor: 1, 2 or 4: downsampling factor.

    Returns:
        value (n, M) in 0..1, slope (n, M, 2) by pixels of the full image, matte (n, M), which is
        0 outside the image.
    """
    height, width = planes.shape[-2:]
    scaled = pad(planes.float() / 255, (0, -width % factor, 0, -height % factor))
    scaled = avg_pool2d(scaled, factor) if factor > 1 else scaled
    bright = _blurred(scaled[:, :1])
    padded = pad(bright, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / (2 * factor)
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / (2 * factor)
    layers = torch.cat([bright, across, down, scaled[:, 1:]], 1)
    size = pixels.new_tensor([layers.shape[-1] * factor, layers.shape[-2] * factor])
    grid = (2 * pixels / size - 1)[:, None]
    found = grid_sample(layers, grid, align_corners=False)[:, :, 0]
    return found[:, 0], found[:, 1:3].mT, found[:, 3]


def _blurred(image: Tensor) -> Tensor:
    """Gaussian of `BLUR` pixels over (n, 1, h, w)."""
    reach = int(3 * BLUR + 0.5)
    at = torch.arange(-reach, reach + 1, dtype=image.dtype, device=image.device)
    kernel = torch.exp(-0.5 * (at / BLUR) ** 2)
    kernel = kernel / kernel.sum()
    image = pad(image, (reach,) * 4, mode="replicate")
    return conv2d(conv2d(image, kernel[None, None, None]), kernel[None, None, :, None])
