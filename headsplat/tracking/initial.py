"""Initial head poses by scaled orthography from rigid landmarks of the face."""

import numpy as np
import torch
from torch import Tensor

from headsplat.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from headsplat.tracking.layout import Layout, State
from headsplat.tracking.projection import Projector
from headsplat.tracking.terms import Terms

# Rigid landmarks: eye corners, nose bridge and wings, ends of the brows.
STEADY = (33, 133, 263, 362, 168, 6, 197, 195, 5, 4, 129, 358, 98, 327, 46, 276, 55, 285)


def initial_state(terms: Terms, layout: Layout, shared: Tensor, linked: np.ndarray) -> State:
    """Mean head, neutral face, and a pose for every frame.

    Frames without a face get poses interpolated between neighbors, so that the temporal terms start
    near their solution. At cuts and ends the nearest frame of the same piece is used.

    Args:
        terms: the clip's observations.
        layout: of the unknowns.
        shared: (Q,) starting identity and log focal length.
        linked: (N - 1,) bool, False at cuts.
    """
    count = len(terms.weight)
    zero = torch.zeros(count, layout.frame_size, dtype=torch.float64, device=shared.device)
    eye = torch.eye(3, dtype=torch.float64, device=shared.device).expand(count, 3, 3)
    neutral = State(zero[:1], eye[:1], shared)
    points = _canonical(terms.projector, neutral)
    rows = np.flatnonzero(np.isin(terms.basis.index, STEADY))
    known = terms.weight > 0
    rotation, place = _orthographic(points[rows], terms.points[known][:, rows])
    seen = known.cpu().numpy()
    rotation, place = _fill(seen, linked, rotation, place)
    zero[:, layout.place] = place
    return State(zero, rotation, shared)


def _canonical(projector: Projector, neutral: State) -> Tensor:
    """(L, 3) landmarks of the mean head in the head frame."""
    empty = neutral.frame.new_zeros(1, 27)
    expression = neutral.frame[:, projector.layout.expression]
    identity = neutral.shared[projector.layout.identity]
    parts = projector.basis.parts
    points = parts[0].points(identity, expression, empty)[0].clone()
    for part in parts[1:]:
        points[part.rows] += part.points(identity, expression, empty)[0]
    return points


def _orthographic(model: Tensor, observed: Tensor) -> tuple[Tensor, Tensor]:
    """Best scaled-orthographic poses.

    Args:
        model: (L, 3) meters.
        observed: (n, L, 2) pixels.

    Returns:
        (n, 3, 3) rotations into the camera and (n, 3) places as `Layout` defines them.
    """
    center, middle = model.mean(0), observed.mean(1)
    affine = (torch.linalg.pinv(model - center) @ (observed - middle[:, None])).mT  # [n, 2, 3]
    left, sizes, right = torch.linalg.svd(affine, full_matrices=False)
    rows = left @ right
    scale = sizes.mean(-1)
    third = torch.linalg.cross(rows[:, 0], rows[:, 1])
    rotation = torch.cat([rows, third[:, None]], 1)
    origin = middle - scale[:, None] * (rows @ center)
    return rotation, torch.cat([origin, scale.log()[:, None]], 1)


def _fill(
    seen: np.ndarray, linked: np.ndarray, rotation: Tensor, place: Tensor
) -> tuple[Tensor, Tensor]:
    """Poses of all frames from those with a face."""
    known, frames = np.flatnonzero(seen), np.arange(len(seen))
    piece = np.concatenate([[0], np.cumsum(~linked)])
    after = np.searchsorted(known, frames)
    low = np.clip(after - 1, 0, len(known) - 1)
    high = np.clip(after, 0, len(known) - 1)
    low = np.where(known[high] == frames, high, low)
    # No interpolation across cuts; a piece without any face takes the nearest pose.
    other_low, other_high = piece[known[low]] != piece, piece[known[high]] != piece
    low, high = (
        np.where(other_low & ~other_high, high, low),
        np.where(other_high & ~other_low, low, high),
    )
    nearer = np.where(frames - known[low] <= known[high] - frames, low, high)
    low, high = (np.where(other_low & other_high, nearer, k) for k in (low, high))
    span = known[high] - known[low]
    share = np.clip((frames - known[low]) / np.maximum(span, 1), 0, 1)
    weight = torch.as_tensor(share, dtype=torch.float64, device=place.device)[:, None]
    low, high = (torch.as_tensor(rows, device=place.device) for rows in (low, high))
    turn = axis_angle_from_matrix(rotation[high] @ rotation[low].mT)
    between = matrix_from_axis_angle(turn * weight) @ rotation[low]
    return between, place[low] * (1 - weight) + place[high] * weight
