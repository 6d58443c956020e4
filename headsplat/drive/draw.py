"""Images of a driven video, part by part: head or body on a background, or laid over the clip."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headsplat.avatar import Avatar
from headsplat.avatar_video import BATCH
from headsplat.drive.backdrop import Backdrop, read_backdrop
from headsplat.drive.clip_images import ClipImages
from headsplat.drive.look import AUTO, PASTE, TORSO, ClipFiles, Look
from headsplat.drive.paste import Paste
from headsplat.render import FrameRenderer
from headsplat.track import Track


@dataclass(frozen=True)
class DrivenFrames:
    """What is drawn, N frames of float32.

    Attributes:
        condition: (N, C) codes.
        rotation: (N, 3, 3) head to camera.
        translation: (N, 3) meters.
        trunk: (N, 3, 4) trunk to head, or None.
        below: (N,) ids of the clip's images to paste on; None without paste.
    """

    condition: Tensor
    rotation: Tensor
    translation: Tensor
    trunk: Tensor | None
    below: np.ndarray | None = None

    def moves(self, rows: slice) -> tuple[Tensor, ...]:
        """Arguments of `FrameRenderer.frames` for some rows."""
        given = (self.condition, self.rotation, self.translation)
        given = given if self.trunk is None else (*given, self.trunk)
        return tuple(value[rows] for value in given)


class Drawer:
    """Draws the frames of one video; a context manager.

    Args:
        avatar: the avatar.
        track: of its clip: size and camera.
        frames: what is drawn.
        look: resolved for the video's format.
        files: of the clip, as the look needs them.
        alpha: whether images get an alpha channel.
        mouth: with paste, whether the clip's upper face is kept.

    Raises:
        UserError: an image or zip that cannot be used.
    """

    def __init__(
        self,
        avatar: Avatar,
        track: Track,
        frames: DrivenFrames,
        look: Look,
        files: ClipFiles,
        alpha: bool,
        mouth: bool,
    ) -> None:
        self.frames = frames
        size, device = (track.width, track.height), avatar.device
        with ExitStack() as stack:
            self._paste, self._clip = None, None
            whole = look.background == AUTO
            self._backdrop = Backdrop(look, None if whole else files.plate, size, alpha, device)
            color = self._backdrop.color
            if look.body == PASTE:
                plate = read_backdrop(files.plate, size)
                self._paste = Paste(avatar, track.intrinsics(), size, plate, whole, mouth)
                ids = np.unique(frames.below)
                self._clip = stack.enter_context(ClipImages(files, ids, size))
                self._flat, color = color.to(device), torch.zeros(3)
            head_only = avatar.torso is not None and look.body != TORSO
            self._renderer = FrameRenderer(
                avatar, BATCH, *size, track.intrinsics(), color, head_only
            )
            self._stack = stack.pop_all()

    def __enter__(self) -> "Drawer":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def images(self, rows: slice) -> Iterator[np.ndarray]:
        """Batches of uint8 images (B, H, W, 3), or (B, H, W, 4) with alpha, of some frames."""
        moves = self.frames.moves(rows)
        drawn = self._renderer.frames(*moves)
        if self._paste is not None:
            drawn = self._pasted(drawn, moves, self.frames.below[rows])
        for color, alpha in drawn:
            yield self._backdrop.finish(color, alpha).cpu().numpy()

    def _pasted(
        self, drawn: Iterator[tuple[Tensor, Tensor]], moves: tuple[Tensor, ...], ids: np.ndarray
    ) -> Iterator[tuple[Tensor, Tensor]]:
        parts = zip(*(value.split(BATCH) for value in moves), strict=True)
        below = self._clip.batches(ids, BATCH)
        for (color, alpha), part, images in zip(drawn, parts, below, strict=True):
            trunk = part[3] if len(part) > 3 else None
            color, alpha = self._paste.composite(color, alpha, images, *part[:3], trunk)
            yield color + (1 - alpha[..., None]) * self._flat, alpha
