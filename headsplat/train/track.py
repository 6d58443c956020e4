"""The packed track as training and rendering need it: codes, cameras and frame status by id."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headsplat.camera import vector_from_matrix
from headsplat.gaussians.deform.codes import condition_size
from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError
from headsplat.track import check_head, read_track


@dataclass(frozen=True)
class Track:
    """N frames of one subject in camera-moves form (the head stands still in its own frame).

    Attributes:
        ids: (N,) frame ids.
        confidence: (N,) in [0, 1].
        shape: (S,) identity coefficients.
        condition: (N, C) exp | jaw 6D | eyes 12 | eyelids 2.
        rotation: (N, 3, 3) head to OpenCV camera.
        translation: (N, 3) metres.
        intrinsics: (4,) fx, fy, cx, cy in pixels of the crop.
        width: of the crop in pixels.
        height: of the crop in pixels.
    """

    ids: np.ndarray
    confidence: Tensor
    shape: Tensor
    condition: Tensor
    rotation: Tensor
    translation: Tensor
    intrinsics: Tensor
    width: int
    height: int

    def rows(self, ids: list[int]) -> Tensor:
        """(n,) long rows of some frame ids; an id the track lacks is a `UserError`."""
        where = {int(frame): row for row, frame in enumerate(self.ids)}
        missing = [frame for frame in ids if frame not in where]
        if missing:
            raise UserError(f"the track lacks frames {missing[:10]}; track the clip again")
        return torch.tensor([where[frame] for frame in ids], dtype=torch.long)


def load_track(path: Path | str, head: HeadModel) -> Track:
    """Read `track.npz` and check that it was made with this head.

    Raises:
        UserError: an array is missing, or head model and track do not belong together.
    """
    track = read_track(path)
    check_head(track, head.name, head.version)
    values = {
        key: torch.from_numpy(getattr(track, key).astype(np.float32))
        for key in ("confidence", "shape", "exp", "jaw", "eyes", "eyelids", "R", "t", "K")
    }
    condition = torch.cat([values[key] for key in ("exp", "jaw", "eyes", "eyelids")], 1)
    if condition.shape[1] != condition_size(head):
        raise UserError(
            f"{path}: codes of {condition.shape[1]} numbers, head {head.name} has "
            f"{condition_size(head)}; track the clip again"
        )
    height, width = (int(v) for v in track.img_size)
    return Track(
        track.ids.astype(np.int64), values["confidence"], values["shape"], condition,
        values["R"], values["t"], vector_from_matrix(values["K"]), width, height,
    )  # fmt: skip
