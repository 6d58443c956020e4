"""Render an avatar to mp4 with `FrameRenderer`, batch by batch, with optional sound."""

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headsplat.avatar import Avatar, moving_parts
from headsplat.render import FrameRenderer
from headsplat.runtime.errors import UserError
from headsplat.track import Frame, Track
from headsplat.video.encode import VideoWriter
from headsplat.video.sound import read_sound
from headsplat.video.timeline import FPS

BATCH = 8
_LARGEST_DENOMINATOR = 1001  # of frame rates such as 30000/1001


def render_video(
    avatar: Avatar,
    frames: Frame | Track,
    path: Path,
    audio: Path | str | None,
    fps: float | None,
    background: Sequence[float],
) -> None:
    """See `Avatar.render_video`."""
    if fps is None:
        fps = frames.fps if isinstance(frames, Track) else FPS
    if not (math.isfinite(fps) and 1 / _LARGEST_DENOMINATOR <= fps <= 1000):
        raise UserError(f"{fps} images a second: give a rate between 0.001 and 1000")
    batch = avatar.as_batch(frames)
    require_no_folder(path)
    color = torch.tensor(background, dtype=torch.float32)
    renderer = FrameRenderer(avatar, BATCH, batch.width, batch.height, batch.intrinsics, color)
    sound = None if audio is None else required_sound(audio, len(batch.rotation) / fps)
    size = batch.width, batch.height
    with VideoWriter(path, *size, exact_rate(fps), sound) as writer:
        write_images(writer, renderer, *moving_parts(batch))


def write_images(writer: VideoWriter, renderer: FrameRenderer, *frames: Tensor) -> None:
    """Render frames into a video; `frames` are the arguments of `FrameRenderer.frames`."""
    for color, _ in renderer.frames(*frames):
        for image in (color * 255).round().byte().cpu().numpy():
            writer.write(image)


def require_no_folder(path: Path) -> None:
    """Raise `UserError` if `path` is a folder."""
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name the mp4 to write")


def exact_rate(fps: float) -> Fraction:
    """Frame rate as a fraction: 29.97 is 30000/1001."""
    return Fraction(fps).limit_denominator(_LARGEST_DENOMINATOR)


def required_sound(audio: Path | str, seconds: float) -> tuple[np.ndarray, int]:
    """Read the sound of a file, as `read_sound` does.

    Raises:
        UserError: the file cannot be opened, or has no sound.
    """
    sound = read_sound(audio, seconds)
    if sound is None:
        raise UserError(f"{audio}: has no sound that can be decoded; give another file or no audio")
    return sound
