"""Truth and render of frames side by side in memory, a batch at a time.

The target of a frame is its picture on black through matte and head mask, exactly what training
aims at; the head mask of the metrics is the parsing's, binary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headsplat.avatar import Avatar
from headsplat.train.dataset import PictureReader
from headsplat.train.track import Track

BATCH = 8
HALF = 127


@dataclass(frozen=True)
class Batch:
    """Some frames: their ids, and truth and render on black (B, H, W, 3), mask (B, H, W)."""

    ids: list[int]
    truth: Tensor
    render: Tensor
    mask: Tensor


def rendered(
    avatar: Avatar, track: Track, reader: PictureReader, ids: Sequence[int]
) -> Iterator[Batch]:
    """Truth and render of `ids`, a batch at a time, so that memory does not grow with the clip."""
    black = torch.zeros(3)
    for low in range(0, len(ids), BATCH):
        some = list(ids[low : low + BATCH])
        planes = torch.from_numpy(np.stack([reader.read(i) for i in some])).to(avatar.device)
        matte = planes[..., 3].float() / 255
        truth = planes[..., :3].float() / 255 * matte[..., None]
        rows = track.rows(some)
        colour, _ = avatar.render(
            track.condition[rows], track.rotation[rows], track.translation[rows],
            track.intrinsics, track.width, track.height, black,
        )  # fmt: skip
        yield Batch(some, truth, colour, (planes[..., 3] > HALF).float())
