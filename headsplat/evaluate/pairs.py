"""Batches of ground truth and render of the same frames.

Ground truth is the image on black, multiplied by matte and head mask, as in training. The head mask
of the metrics is the binary mask of the parsing stage.
"""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headsplat.avatar import moving_parts
from headsplat.render import FrameRenderer
from headsplat.runtime.process import available_threads
from headsplat.track import Track
from headsplat.train.dataset import ImageReader

HALF = 127


@dataclass(frozen=True)
class Batch:
    """Ground truth, render and mask of B frames.

    Attributes:
        ids: their ids.
        ground_truth: (B, H, W, 3) on black, colors in [0, 1].
        render: likewise.
        mask: (B, H, W) head mask, 0 or 1.
        image: (B, H, W, 3) uint8, the full image with background.
    """

    ids: list[int]
    ground_truth: Tensor
    render: Tensor
    mask: Tensor
    image: Tensor

    def subset(self, ids: Collection[int]) -> "Batch":
        """The frames whose ids are in `ids`; may be empty."""
        rows = [row for row, frame in enumerate(self.ids) if frame in ids]
        parts = (self.ground_truth, self.render, self.mask, self.image)
        return Batch([self.ids[row] for row in rows], *(part[rows] for part in parts))


def render_pairs(
    renderer: FrameRenderer, track: Track, reader: ImageReader, ids: Sequence[int]
) -> Iterator[Batch]:
    """Yield ground truth and render of some frames, batch by batch, in constant memory.

    Args:
        renderer: renderer of the avatar with the track's camera on black.
        track: codes and cameras of the clip.
        reader: its images and masks.
        ids: frame ids, in output order.
    """
    device = renderer.avatar.device
    some = track[track.rows(ids)]
    images = renderer.frames(*moving_parts(some.frames()))
    starts = range(0, len(ids), renderer.batch)
    with ThreadPoolExecutor(available_threads()) as pool:
        for low, (color, _) in zip(starts, images, strict=True):
            some = list(ids[low : low + renderer.batch])
            planes = torch.from_numpy(np.stack(list(pool.map(reader.read, some)))).to(device)
            matte = planes[..., 3].float() / 255
            ground_truth = planes[..., :3].float() / 255 * matte[..., None]
            mask = (planes[..., 3] > HALF).float()
            # Copies, because the renderer reuses its buffers for the next batch.
            yield Batch(some, ground_truth, color.clone(), mask, planes[..., :3])
