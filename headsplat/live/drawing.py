"""Images of an avatar one at a time, as bytes for a screen, a pipe or a camera."""

import numpy as np
import torch

from headsplat.avatar import Avatar
from headsplat.live.driving import Posed
from headsplat.render import FrameRenderer
from headsplat.runtime.errors import UserError
from headsplat.track import Track

# Sides of images in pixels; even, as video codecs want them.
_SMALLEST, _LARGEST = 16, 4096


class LiveRenderer:
    """Draws one avatar with the camera of its clip.

    Args:
        avatar: the avatar.
        track: of its clip.
        height: of the images in pixels; 0 takes the clip's. Widths follow; both become even.
        background: (3,) red, green and blue in 0..1.

    Attributes:
        width: of the images.
        height: of the images.

    Raises:
        UserError: the images would be too small or too large.
    """

    def __init__(
        self, avatar: Avatar, track: Track, height: int, background: tuple[float, ...]
    ) -> None:
        scale = height / track.height if height else 1.0
        self.height = 2 * round(track.height * scale / 2)
        self.width = 2 * round(track.width * scale / 2)
        if not all(_SMALLEST <= side <= _LARGEST for side in (self.width, self.height)):
            raise UserError(
                f"images of {self.width} x {self.height} pixels: expected {_SMALLEST} to "
                f"{_LARGEST} a side; give another --height"
            )
        sides = torch.tensor([self.width / track.width, self.height / track.height])
        intrinsics = track.intrinsics() * sides.repeat(2)
        self._renderer = FrameRenderer(
            avatar, 1, self.width, self.height, intrinsics, torch.tensor(background)
        )

    @torch.no_grad()
    def draw(self, posed: Posed) -> np.ndarray:
        """(H, W, 3) uint8 RGB of one frame."""
        color, _ = self._renderer.render(*posed.moves())
        return (color[0] * 255).round().byte().cpu().numpy()
