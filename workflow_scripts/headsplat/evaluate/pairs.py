"""Truth and render of frames side by side in memory, a batch at a time.

The target of a frame is its picture on black through matte and head mask, exactly what training
aims at; the head mask of the metrics is the parsing's, binary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headsplat.render import FrameRenderer
from headsplat.train.dataset import PictureReader
from headsplat.train.track import Track

HALF = 127


@dataclass(frozen=True)
class Batch:
    """Some frames: their ids, and truth and render on black (B, H, W, 3), mask (B, H, W)."""

    ids: list[int]
    truth: Tensor
    render: Tensor
    mask: Tensor


def rendered(
    renderer: FrameRenderer, track: Track, reader: PictureReader, ids: Sequence[int]
) -> Iterator[Batch]:
    """Truth and render of `ids`, a batch at a time, so that memory does not grow with the clip.

    Args:
        renderer: draws the avatar with the track's camera on black.
        track: codes and cameras of the clip.
        reader: its pictures and masks.
        ids: of the frames, in the order wanted.
    """
    device = renderer.avatar.device
    rows = track.rows(list(ids))
    pictures = renderer.frames(track.condition[rows], track.rotation[rows], track.translation[rows])
    for low, (colour, _) in zip(range(0, len(ids), renderer.batch), pictures, strict=True):
        some = list(ids[low : low + renderer.batch])
        planes = torch.from_numpy(np.stack([reader.read(i) for i in some])).to(device)
        matte = planes[..., 3].float() / 255
        truth = planes[..., :3].float() / 255 * matte[..., None]
        # The renderer's own buffers hold for one batch only.
        yield Batch(some, truth, colour.clone(), (planes[..., 3] > HALF).float())
