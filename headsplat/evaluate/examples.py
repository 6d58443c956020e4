"""Held-out frames that the report shows: the worst, the median, the best, and some of all."""

from collections.abc import Sequence

import cv2
import numpy as np
from torch import Tensor

from headsplat.evaluate.pairs import rendered
from headsplat.render import FrameRenderer
from headsplat.train.dataset import ImageReader
from headsplat.train.track import Track

# Frames of the sheet, and the longer side of its images, pixels.
SHEET, SHEET_SIZE = 12, 256


def examples(
    renderer: FrameRenderer,
    track: Track,
    reader: ImageReader,
    ids: Sequence[int],
    psnr: np.ndarray,
) -> dict[str, np.ndarray]:
    """Arrays of evaluation.npz that hold images.

    Args:
        renderer: as `rendered` takes it.
        track: likewise.
        reader: likewise.
        ids: of the held-out frames.
        psnr: (N,) psnr_head of each, dB.

    Returns:
        For `example` and for `sheet`, spread evenly over the held-out frames: `_ids`, `_psnr`,
        `_ground_truth` and `_render` (n, H, W, 3) uint8; and `example_names`.
    """
    order = np.argsort(psnr)
    chosen = {"worst": order[0], "median": order[len(order) // 2], "best": order[-1]}
    count = min(SHEET, len(ids))
    sheet = ((np.arange(count) + 0.5) * len(ids) / count).astype(int)
    arrays = {"example_names": np.array(list(chosen))}
    largest = {"example": max(track.width, track.height), "sheet": SHEET_SIZE}
    for name, rows in (("example", np.array(list(chosen.values()))), ("sheet", sheet)):
        frames = [int(ids[row]) for row in rows]
        images = [
            (_shrunk(_bytes(ground_truth), largest[name]), _shrunk(_bytes(render), largest[name]))
            for batch in rendered(renderer, track, reader, frames)
            for ground_truth, render in zip(batch.ground_truth, batch.render, strict=True)
        ]
        arrays[f"{name}_ids"] = np.array(frames, np.int32)
        arrays[f"{name}_psnr"] = psnr[rows]
        arrays[f"{name}_ground_truth"] = np.stack([ground_truth for ground_truth, _ in images])
        arrays[f"{name}_render"] = np.stack([render for _, render in images])
    return arrays


def _bytes(image: Tensor) -> np.ndarray:
    return (image * 255).round().byte().cpu().numpy()


def _shrunk(image: np.ndarray, side: int) -> np.ndarray:
    """An image whose longer side is at most `side`."""
    scale = side / max(image.shape[:2])
    if scale >= 1:
        return image
    size = tuple(round(scale * n) for n in image.shape[1::-1])
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
