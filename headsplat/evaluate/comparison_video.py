"""Side-by-side video of a clip: ground truth left, render right, held-out frames marked.

A labeled bar at the bottom edge marks held-out frames and unusable frames.
"""

from collections.abc import Collection, Mapping
from functools import cache

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from headsplat.evaluate.pairs import Batch

HELD_OUT = "held out"
# Colors of held-out frames (as in the report's charts), unused frames, and side labels.
_TESTED, _UNUSED, _NAMES = (216, 108, 36), (110, 118, 124), (24, 24, 24)
# Heights of letters and bar as shares of the image height, and their minimum in pixels.
_LETTERS, _BAR, _LEAST_LETTERS, _LEAST_BAR = 1 / 22, 1 / 100, 9, 2


class ClipVideo:
    """Composes the frames of a clip's comparison video.

    Args:
        held_out: ids of held-out frames.
        unused: id of an unusable frame -> reason.
    """

    def __init__(self, held_out: Collection[int], unused: Mapping[int, str]) -> None:
        self._held_out, self._unused = frozenset(held_out), unused

    def images(self, batch: Batch) -> np.ndarray:
        """(B, H, 2 W, 3) uint8; unused frames show the whole ground truth image."""
        both = torch.cat(batch.shown, 2)
        drawn = (both * 255).round().byte().cpu().numpy()
        width = drawn.shape[2] // 2
        for k, frame in enumerate(batch.ids):
            if frame in self._unused:
                drawn[k, :, :width] = batch.image[k].cpu().numpy()
                _mark(drawn[k], f"not measured: {self._unused[frame]}", _UNUSED)
            elif frame in self._held_out:
                _mark(drawn[k], HELD_OUT, _TESTED)
            _name(drawn[k, :, :width], "ground truth")
            _name(drawn[k, :, width:], "render")
        return drawn


def _mark(image: np.ndarray, text: str, color: tuple[int, int, int]) -> None:
    """Draw a labeled bar along the bottom edge, in place."""
    height = len(image)
    word = _word(text, max(_LEAST_LETTERS, round(_LETTERS * height)), color)
    bar = max(_LEAST_BAR, round(_BAR * height))
    image[-bar:] = color
    part = image[-bar - len(word) :][: len(word), : word.shape[1]]
    part[:] = word[: len(part), : part.shape[1]]


def _name(half: np.ndarray, text: str) -> None:
    """Draw a side's name in its upper left corner, half transparent, in place."""
    word = _word(text, max(_LEAST_LETTERS, round(_LETTERS * len(half))), _NAMES)
    part = half[: len(word), : word.shape[1]]
    part[:] = part // 2 + word[: len(part), : part.shape[1]] // 2


@cache
def _word(text: str, size: int, color: tuple[int, int, int]) -> np.ndarray:
    """(h, w, 3) uint8: white letters on a color."""
    font = ImageFont.load_default(size)
    left, _, right, _ = font.getbbox(text)
    ascent, descent = font.getmetrics()
    edge = size // 2
    box = Image.new("RGB", (round(right - left) + 2 * edge, ascent + descent + edge // 2), color)
    ImageDraw.Draw(box).text((edge - left, edge // 4), text, (255, 255, 255), font)
    return np.asarray(box)
