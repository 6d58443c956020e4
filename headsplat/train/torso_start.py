"""Where a torso's Gaussians start: pixels of the person below the head, at the depth of a bust.

A pixel outside of the bust's silhouette takes the depth of the nearest one inside. Points of the
frame nearest to the mean trunk pose come first; other frames add what is hidden in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from headsplat.heads.bust import Bust
from headsplat.masks.bust_depth import bust_depth
from headsplat.rotations import quaternion_from_matrix
from headsplat.runtime.errors import UserError
from headsplat.train.dataset import PersonReader, ResidentImages, StreamedImages
from headsplat.train.initialize import mean_square_distance, nearest
from headsplat.train.prepare import TrainingFrames, spread_rows

# Frames that points are taken from.
_FRAMES = 10
# Overlap with the head mask as a share of the image height: what shows at the head's soft end.
_OVERLAP = 12 / 512
# A further frame's point is new where no other is nearer than this many spacings.
_NEW = 1.5
_INSIDE = 127
# Fewest points of a torso, and bounds of the disks' radii in meters.
FEWEST = 16
_SPACING = (5e-4, 1.5e-2)


@dataclass(frozen=True)
class Points:
    """M points of the torso in trunk space.

    Attributes:
        places: (M, 3) meters.
        normals: (M, 3) unit vectors.
        colors: (M, 3) in 0..1.
    """

    places: Tensor
    normals: Tensor
    colors: Tensor

    def pick(self, rows: Tensor) -> "Points":
        """Some of the points."""
        return Points(self.places[rows], self.normals[rows], self.colors[rows])

    def joined(self, other: "Points") -> "Points":
        """These and other points."""
        parts = ("places", "normals", "colors")
        return Points(*(torch.cat([getattr(self, p), getattr(other, p)]) for p in parts))

    def quats(self) -> Tensor:
        """(M, 4) rotations whose third axis is the normal."""
        up = torch.zeros_like(self.normals)
        up[:, 1] = 1
        # A normal along y has no horizontal axis of its own.
        up[:, 2] = (self.normals[:, 1].abs() > 0.9).float()
        first = torch.nn.functional.normalize(torch.linalg.cross(up, self.normals), dim=1)
        second = torch.linalg.cross(self.normals, first)
        return quaternion_from_matrix(torch.stack([first, second, self.normals], 2))

    def spacing(self) -> Tensor:
        """(M,) meters to the nearest points."""
        return mean_square_distance(self.places).sqrt().clamp(*_SPACING)


def torso_points(
    bust: Bust,
    frames: TrainingFrames,
    trunk: Tensor,
    images: ResidentImages | StreamedImages,
    count: int,
) -> Points:
    """At most `count` points on the visible torso, evenly spread in the image.

    Args:
        bust: the proxy of the depth, in trunk space.
        frames: the training frames.
        trunk: (T, 3, 4) trunk to head of each.
        images: planes of the whole person (`headsplat.train.dataset.PersonReader`).
        count: how many points at most.

    Raises:
        UserError: as `require_body`.
    """
    some = spread_rows(len(frames.ids), _FRAMES)
    middle = trunk[some].mean(0)
    order = (trunk[some] - middle).square().sum((1, 2)).argsort().tolist()
    found: Points | None = None
    reach = 0.0
    for row in (some[k] for k in order):
        room = count if found is None else count - len(found.places)
        if room <= 0:
            break
        seen = _frame_points(bust, frames, trunk, images, row, count)
        if seen is None:
            continue
        if found is None:
            found, reach = seen, _NEW * float(seen.spacing().median())
            continue
        square, _ = nearest(found.places, seen.places, 1)
        new = (square[:, 0] > reach**2).nonzero()[:, 0]
        if len(new):
            keep = torch.linspace(0, len(new) - 1, min(room, len(new)), device=new.device)
            found = found.joined(seen.pick(new[keep.long()]))
    if found is None:
        raise _nothing()
    return found


def require_body(reader: PersonReader, ids: Sequence[int]) -> None:
    """Check, before the head's training, that there is something to train a torso on.

    Raises:
        UserError: the person's mattes show nothing outside of the head masks.
    """
    some = spread_rows(len(ids), _FRAMES)
    if all(_region(reader.read(ids[row])).sum() < FEWEST for row in some):
        raise _nothing()


def _nothing() -> UserError:
    return UserError(
        "train.body=torso: the mattes show nothing of the person outside of the head; "
        "set train.body to none"
    )


def _frame_points(
    bust: Bust,
    frames: TrainingFrames,
    trunk: Tensor,
    images: ResidentImages | StreamedImages,
    row: int,
    count: int,
) -> Points | None:
    """Points of one frame on a regular grid, three quarters of `count` at most."""
    planes = images.rows([row])[0].cpu().numpy()
    region = _region(planes)
    inside = int(region.sum())
    if inside < FEWEST:
        return None
    step = max(1.0, float(np.sqrt(inside / (0.75 * count))))
    lines = [((np.arange(int(size / step)) + 0.5) * step).astype(int) for size in region.shape]
    grid = np.nonzero(region[np.ix_(*lines)])
    rows, columns = (line[index] for line, index in zip(lines, grid, strict=True))
    rotation, translation = frames.rotation[row].cpu(), frames.translation[row].cpu()
    pose = trunk[row].cpu()
    turn = rotation @ pose[:, :3]
    shift = rotation @ pose[:, 3] + translation
    depth, normals = bust_depth(bust, turn, shift, frames.intrinsics.cpu(), region.shape)
    fx, fy, cx, cy = frames.intrinsics.cpu()
    z = torch.from_numpy(depth[rows, columns])
    x = (torch.from_numpy(columns) + 0.5 - cx) / fx * z
    y = (torch.from_numpy(rows) + 0.5 - cy) / fy * z
    places = (torch.stack([x, y, z], 1).float() - shift) @ turn
    colors = torch.from_numpy(planes[rows, columns, :3]).float() / 255
    device = frames.rotation.device
    picked = torch.from_numpy(normals[rows, columns])
    return Points(*(value.to(device) for value in (places, picked, colors)))


def _region(planes: np.ndarray) -> np.ndarray:
    """(H, W) bool: the person below the head, and a little beneath the head's end."""
    person, outside = planes[..., 3] > _INSIDE, planes[..., 4] > _INSIDE
    reach = 2 * max(1, round(_OVERLAP * len(planes))) + 1
    near = cv2.dilate(outside.astype(np.uint8), np.ones((reach, reach), np.uint8)) > 0
    return person & near
