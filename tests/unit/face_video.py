"""A video of a drawn face that moves to the right."""

from pathlib import Path

import cv2
import numpy as np

from headsplat.doctor.networks import drawn_face
from headsplat.video.encode import VideoWriter
from headsplat.video.probe import probe_video

SPEED = 1.5  # px a frame


def moved_face(x: float, y: float = 0.0, size: tuple[int, int] = (384, 256)) -> np.ndarray:
    """The face's image shifted by (x, y) px, in one of `size` (width, height)."""
    move = np.array([[1.0, 0, x], [0, 1, y]])
    return cv2.warpAffine(drawn_face(), move, size, borderMode=cv2.BORDER_REPLICATE)


def write_face_video(folder: Path, frames: int) -> tuple[Path, Path]:
    """Write the video and its `video.json`; returns both paths."""
    video, info = folder / "face.mp4", folder / "video.json"
    with VideoWriter(video, 384, 256, 25) as writer:
        for k in range(frames):
            writer.write(moved_face(SPEED * k))
    probe_video(video, info)
    return video, info
