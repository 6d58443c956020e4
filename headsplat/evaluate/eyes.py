"""Where the eyes are in a track's images, and whether they are shut."""

import numpy as np
import torch
from torch import Tensor

from headsplat.camera import project
from headsplat.gaussians.deform.codes import posed_vertices
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.track import Track

# A lid that is shut further than this counts as closed; 0 is open and 1 shut.
SHUT = 0.5
_BATCH = 64


def eyes_closed(track: Track) -> np.ndarray:
    """(N,) bool, frames in which either lid is shut by more than `SHUT`."""
    return np.asarray(track.eyelids).max(1) > SHUT


def eye_boxes(head: HeadModel, track: Track) -> Tensor:
    """(N, 2, 4) pixels: left, upper, right and lower edge of the left and the right eyeball.

    They enclose the projections of the posed eyeballs' vertices. A head model without eyeballs has
    empty boxes, whose right edge lies left of the left one.
    """
    geometry = HeadGeometry(head)
    sides = [head.regions[f"{side}_eyeball"] for side in ("left", "right")]
    ids = torch.as_tensor(np.concatenate(sides)).long()
    frames = track.frames()
    rotation, translation = track.poses()
    boxes = []
    for low in range(0, len(track.ids), _BATCH):
        part = slice(low, low + _BATCH)
        vertices = posed_vertices(geometry, track.identity(), frames.code.vector[part], ids)
        pixels = project(vertices, rotation[part], translation[part], track.intrinsics())[..., :2]
        eyes = pixels.split([len(side) for side in sides], 1)
        boxes.append(torch.stack([_box(eye) for eye in eyes], 1))
    return torch.cat(boxes)


def _box(pixels: Tensor) -> Tensor:
    """(B, n, 2) -> (B, 4) edges of the box around the points; around none it is empty."""
    if not pixels.shape[1]:
        return pixels.new_tensor([0.0, 0, -1, -1]).expand(len(pixels), 4)
    return torch.cat([pixels.amin(1), pixels.amax(1)], 1)


def box_masks(boxes: Tensor, width: int, height: int) -> Tensor:
    """(B, 2, 4) boxes -> (B, H, W) mask of 0 and 1, pixels whose centers lie in either box."""
    columns = torch.arange(width, device=boxes.device) + 0.5
    rows = torch.arange(height, device=boxes.device) + 0.5
    across = (columns >= boxes[..., :1]) & (columns <= boxes[..., 2:3])
    down = (rows >= boxes[..., 1:2]) & (rows <= boxes[..., 3:])
    return (down[..., :, None] & across[..., None, :]).any(1).float()
