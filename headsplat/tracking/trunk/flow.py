"""Where the trunk's points go from one frame to another: DIS optical flow (Kroeger et al. 2016)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from headsplat.frames.images import decode_small
from headsplat.frames.packs import FrameStore
from headsplat.runtime.errors import UserError

SIDE = 256  # of the images that are compared
# DIS, of its fast preset: flow of whole pixels of the small image, because half of them misses
# small motion; fewer and further patches, and less smoothing, at equal error.
FINEST, DESCENTS, STRIDE, SMOOTHINGS = 0, 8, 5, 2
WINDOW = 9  # of the structure tensor, pixels
# Squared brightness per pixel below which a direction counts as without texture.
FLAT = 4.0
LEAST_ROWS = 40
LEAST_SIDE = 16  # pixels of an image, below which OpenCV finds no flow


@dataclass(frozen=True)
class SmallFrame:
    """(H, W) uint8 brightness and matte of one frame, at most `SIDE` wide."""

    gray: np.ndarray
    matte: np.ndarray


@dataclass(frozen=True)
class Matches:
    """Where points went.

    Attributes:
        pixels: (m, 2) of the points that were found.
        information: (m, 2, 2) of their pixels, in 0..1 an axis.
        kept: (n,) bool, which of the n points were found.
    """

    pixels: np.ndarray
    information: np.ndarray
    kept: np.ndarray


class SmallFrames:
    """Reads a clip's frames and mattes at a reduced size; thread-safe.

    Args:
        frames: `frames/*.zip`.
        mattes: `alpha/*.zip`.
        size: side of the images in pixels.
    """

    def __init__(self, frames: Sequence[Path], mattes: Sequence[Path], size: int) -> None:
        self._frames, self._mattes = FrameStore(frames), FrameStore(mattes)
        self._size = size
        self.scale = min(1.0, SIDE / size)

    def read(self, frame: int) -> SmallFrame:
        """One frame by id.

        Raises:
            UserError: an image is missing, damaged, or of another size than the track's.
        """
        side, small = round(self._size * self.scale), []
        for what, store in (("image", self._frames), ("matte", self._mattes)):
            plane, width, height = decode_small(store.read(frame), side)
            if (width, height) != (self._size, self._size):
                raise UserError(
                    f"frame {frame}: the {what} has {width}x{height} pixels, the track was made "
                    f"for {self._size}x{self._size}; track the clip again"
                )
            small.append(cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA))
        gray, matte = small
        return SmallFrame(cv2.LUT(gray, _BRIGHTEN), matte)

    def __enter__(self) -> "SmallFrames":
        return self

    def __exit__(self, *_: object) -> None:
        self._frames.close()
        self._mattes.close()


# Square root: dark clothes keep their texture, and noise is as large in dark as in bright.
_BRIGHTEN = np.round(np.sqrt(np.arange(256) / 255.0) * 255).astype(np.uint8)


def follow(
    before: SmallFrame, after: SmallFrame, pixels: np.ndarray, guess: np.ndarray | None = None
) -> Matches:
    """Where points of one frame are in another.

    Args:
        before: the points' frame.
        after: the other frame.
        pixels: (n, 2), pixel centers at .5.
        guess: (n, 2) where they may be, from which the search starts; None: where they were.
            Guesses that are not finite, or farther away than the image is wide, count as None.
    """
    height, width = before.gray.shape
    if not len(pixels) or min(height, width) < LEAST_SIDE:
        return Matches(np.zeros((0, 2)), np.zeros((0, 2, 2)), np.zeros(len(pixels), bool))
    top = int(np.clip(pixels[:, 1].min() - 24, 0, max(height - LEAST_ROWS, 0)))
    first, second = (np.ascontiguousarray(f.gray[top:]) for f in (before, after))
    dense = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    dense.setFinestScale(FINEST)
    dense.setGradientDescentIterations(DESCENTS)
    dense.setPatchStride(STRIDE)
    dense.setVariationalRefinementIterations(SMOOTHINGS)
    start = None if guess is None else _affine(pixels, guess - pixels, top, first.shape)
    flow = dense.calc(first, second, start)
    # OpenCV's origin is the center of the first pixel.
    at = (pixels - [0.5, 0.5 + top]).astype(np.float32)
    moved = pixels + _sampled(flow, at)
    inside = (moved >= 1).all(1) & (moved[:, 0] < width - 1) & (moved[:, 1] < height - 1)
    column, row = np.clip(moved, 0, [width - 1, height - 1]).astype(int).T
    kept = inside & (after.matte[row, column] > 127)
    information = _texture(first, at[kept])
    return Matches(moved[kept], information, kept)


def _affine(pixels: np.ndarray, moved: np.ndarray, top: int, shape: tuple) -> np.ndarray:
    """(rows, W, 2) float32 displacement, affine in the place, that fits those of the points."""
    # OpenCV reads beyond the image where a displacement is larger.
    most = max(shape)
    moved = np.where((np.abs(moved) <= most).all(1, keepdims=True), moved, 0)
    columns = np.column_stack([pixels, np.ones(len(pixels))])
    ridge = np.diag([1.0, 1.0, 1e-6])
    fit = np.linalg.solve(columns.T @ columns + ridge, columns.T @ moved)
    across = (np.arange(shape[1]) + 0.5)[None, :, None] * fit[0]
    down = (np.arange(shape[0]) + top + 0.5)[:, None, None] * fit[1]
    return (across + down + fit[2]).clip(-most, most).astype(np.float32)


def _texture(gray: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(n, 2, 2) G (G + FLAT)^-1 with the structure tensor G around each point."""
    across = cv2.Sobel(gray, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(gray, cv2.CV_32F, 0, 1, scale=1 / 8)
    planes = cv2.merge([across * across, across * down, down * down])
    a, b, d = _sampled(cv2.blur(planes, (WINDOW, WINDOW)), at).T
    tensor = np.stack([np.stack([a, b], 1), np.stack([b, d], 1)], 1)
    return tensor @ np.linalg.inv(tensor + FLAT * np.eye(2))


def _sampled(plane: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(n, C) float64, bilinear."""
    if not len(at):
        return np.zeros((0, plane.shape[2]))
    found = cv2.remap(plane, at[None], None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return found[0].astype(np.float64)
