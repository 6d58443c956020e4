"""Batches of ground truth and render of the same frames.

Ground truth is the image on black, multiplied by matte and head mask, as in training. The head mask
of the metrics is the binary mask of the parsing stage.
"""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import repeat

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
class Person:
    """The whole person of B frames, on black.

    Attributes:
        ground_truth: (B, H, W, 3), colors in [0, 1].
        render: likewise, head and torso.
        mask: (B, H, W), 0 or 1.
    """

    ground_truth: Tensor
    render: Tensor
    mask: Tensor


@dataclass(frozen=True)
class Batch:
    """Ground truth, render and mask of B frames.

    Attributes:
        ids: their ids.
        ground_truth: (B, H, W, 3) on black, colors in [0, 1].
        render: likewise.
        mask: (B, H, W) head mask, 0 or 1.
        mouth: (B, H, W) mouth mask, likewise.
        image: (B, H, W, 3) uint8, the full image with background.
        person: whole person, of an avatar with a torso.
    """

    ids: list[int]
    ground_truth: Tensor
    render: Tensor
    mask: Tensor
    mouth: Tensor
    image: Tensor
    person: "Person | None" = None

    @property
    def shown(self) -> tuple[Tensor, Tensor]:
        """Ground truth and render to look at: of the whole person, if there is a torso."""
        if self.person is None:
            return self.ground_truth, self.render
        return self.person.ground_truth, self.person.render

    def subset(self, ids: Collection[int]) -> "Batch":
        """The frames whose ids are in `ids`; may be empty."""
        rows = [row for row, frame in enumerate(self.ids) if frame in ids]
        parts = (self.ground_truth, self.render, self.mask, self.mouth, self.image)
        person = self.person
        if person is not None:
            person = Person(person.ground_truth[rows], person.render[rows], person.mask[rows])
        return Batch([self.ids[row] for row in rows], *(part[rows] for part in parts), person)


def render_pairs(
    renderer: FrameRenderer,
    track: Track,
    reader: ImageReader,
    ids: Sequence[int],
    whole: FrameRenderer | None = None,
) -> Iterator[Batch]:
    """Yield ground truth and render of some frames, batch by batch, in constant memory.

    Args:
        renderer: renderer of the avatar's head with the track's camera on black.
        track: codes and cameras of the clip.
        reader: its images and masks.
        ids: frame ids, in output order.
        whole: renderer of head and torso, of the same batch size; None of a head alone.
    """
    device = renderer.avatar.device
    some = track[track.rows(ids)]
    inputs = moving_parts(some.frames())
    images = renderer.frames(*inputs)
    wholes = repeat(None) if whole is None else whole.frames(*inputs)
    read = reader.read if whole is None else reader.read_person
    starts = range(0, len(ids), renderer.batch)
    with ThreadPoolExecutor(available_threads()) as pool:
        for low, (color, _), both in zip(starts, images, wholes, strict=False):
            some = list(ids[low : low + renderer.batch])
            planes = torch.from_numpy(np.stack(list(pool.map(read, some)))).to(device)
            # Copies, because the renderers reuse their buffers for the next batch.
            person = None
            if both is not None:
                person = Person(*_on_black(planes, 5, both[0].clone()))
            ground_truth, render, mask = _on_black(planes, 3, color.clone())
            mouth = (planes[..., 4] > HALF).float()
            yield Batch(some, ground_truth, render, mask, mouth, planes[..., :3], person)


def _on_black(planes: Tensor, matte: int, render: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ground truth by one of the planes as matte, the render, and the mask."""
    share = planes[..., matte].float() / 255
    ground_truth = planes[..., :3].float() / 255 * share[..., None]
    return ground_truth, render, (planes[..., matte] > HALF).float()
