"""Truth and render of frames side by side in memory, a batch at a time.

The target of a frame is its picture on black through matte and head mask, exactly what training
aims at; the head mask of the metrics is the parsing's, binary.
"""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headsplat.render import FrameRenderer
from headsplat.runtime.process import available_threads
from headsplat.train.dataset import PictureReader
from headsplat.train.track import Track

HALF = 127


@dataclass(frozen=True)
class Batch:
    """Some frames.

    Attributes:
        ids: their ids.
        truth: (B, H, W, 3) on black, colours in [0, 1].
        render: likewise.
        mask: (B, H, W) head mask, 0 or 1.
        picture: (B, H, W, 3) uint8, with what lies around the head.
    """

    ids: list[int]
    truth: Tensor
    render: Tensor
    mask: Tensor
    picture: Tensor

    def among(self, ids: Collection[int]) -> "Batch":
        """Those of the frames whose ids are among `ids`; perhaps none."""
        rows = [row for row, frame in enumerate(self.ids) if frame in ids]
        parts = (self.truth, self.render, self.mask, self.picture)
        return Batch([self.ids[row] for row in rows], *(part[rows] for part in parts))


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
    starts = range(0, len(ids), renderer.batch)
    with ThreadPoolExecutor(available_threads()) as pool:
        for low, (colour, _) in zip(starts, pictures, strict=True):
            some = list(ids[low : low + renderer.batch])
            planes = torch.from_numpy(np.stack(list(pool.map(reader.read, some)))).to(device)
            matte = planes[..., 3].float() / 255
            truth = planes[..., :3].float() / 255 * matte[..., None]
            mask = (planes[..., 3] > HALF).float()
            # The renderer's own buffers hold for one batch only.
            yield Batch(some, truth, colour.clone(), mask, planes[..., :3])
