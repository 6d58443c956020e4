"""Landmark positions on posed heads, and groups of MediaPipe's 478 points."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from headsplat.heads.model import ContourSet, LandmarkSet

# MediaPipe's numbering; left and right are the SUBJECT's. Each eye runs round the opening from
# its outer corner along the lower lid; lips from the subject's right corner along the lower lip.
MEDIAPIPE_GROUPS: dict[str, tuple[int, ...]] = {
    "oval": (
        10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377,
        152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109,
    ),
    "brows": (
        276, 282, 283, 285, 293, 295, 296, 300, 334, 336,
        46, 52, 53, 55, 63, 65, 66, 70, 105, 107,
    ),
    "left_eye": (
        263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466,
    ),
    "right_eye": (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
    "nose": (168, 6, 197, 195, 5, 4, 129, 98, 97, 2, 326, 327, 358),
    "lips_outer": (
        61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185,
    ),
    "lips_inner": (
        78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308, 415, 310, 311, 312, 13, 82, 81, 80, 191,
    ),
    "left_iris": (473, 474, 475, 476, 477),
    "right_iris": (468, 469, 470, 471, 472),
}  # fmt: skip

# (upper, lower) points whose distance measures how far the mouth or an eye is open.
LIP_DISTANCE_PAIRS = ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402))
EYELID_DISTANCE_PAIRS = {
    "left": ((386, 374), (385, 380), (387, 373)),
    "right": ((159, 145), (158, 153), (160, 144)),
}
# Outer eye corners, whose distance normalizes residuals.
INTER_OCULAR = (33, 263)


def points(vertices: Tensor, landmarks: LandmarkSet) -> Tensor:
    """Surface points, (B, V, 3) -> (B, L, 3), in the frame and unit of `vertices`.

    `vertices` must be numbered as `landmarks.corners`: all vertices of the model for a set of
    `HeadModel.landmarks`, the subset for a set that `compact` made.
    """
    corners = torch.as_tensor(landmarks.corners, dtype=torch.long, device=vertices.device)
    weights = torch.as_tensor(landmarks.barycentric, dtype=vertices.dtype, device=vertices.device)
    return (vertices[:, corners] * weights[..., None]).sum(-2)


def contour_bins(rotation: Tensor) -> Tensor:
    """Yaw bin of each frame for `ContourSet`, as metrical-tracker numbers them.

    Bins 0..39 are 0..39 degrees towards the subject's left, 40..78 are 1..39 degrees towards
    the subject's right; larger yaw stays in the last bin. Yaw is from the Z-Y-X factorization,
    independent of roll.

    Args:
        rotation: (B, 3, 3) from head to an OpenCV camera.

    Returns:
        (B,) long.
    """
    yaw = torch.atan2(rotation[:, 2, 0], rotation[:, :2, 0].norm(dim=-1))
    degrees = torch.rad2deg(yaw).round().clamp(-39, 39).long()
    return torch.where(degrees < 0, 39 - degrees, degrees)


def contour_points(vertices: Tensor, contour: ContourSet, rotation: Tensor) -> Tensor:
    """The jaw line seen at each frame's yaw: (B, V, 3), (B, 3, 3) -> (B, 17, 3).

    Index 0 lies at the subject's right ear. The bin is not differentiable.
    """
    bins = contour_bins(rotation.detach())
    corners = torch.as_tensor(contour.corners, dtype=torch.long, device=vertices.device)[bins]
    weights = torch.as_tensor(contour.barycentric, dtype=vertices.dtype, device=vertices.device)
    frames = torch.arange(len(vertices), device=vertices.device)[:, None, None]
    return (vertices[frames, corners] * weights[bins][..., None]).sum(-2)


def compact(
    landmarks: LandmarkSet | ContourSet, *others: LandmarkSet | ContourSet
) -> tuple[np.ndarray, list[LandmarkSet | ContourSet]]:
    """The vertices that landmark sets use, and the sets renumbered to this subset.

    Returns:
        vertex ids (n,) int64, ascending, for `HeadGeometry.vertices(vertex_ids=...)`, and the
        sets in the order given, whose `corners` are rows of that subset.
    """
    sets = [landmarks, *others]
    ids = np.unique(np.concatenate([s.corners.ravel() for s in sets])).astype(np.int64)
    local = [replace(s, corners=np.searchsorted(ids, s.corners).astype(np.int32)) for s in sets]
    return ids, local


def pick(landmarks: LandmarkSet, wanted: tuple[int, ...] | np.ndarray) -> LandmarkSet:
    """The points of a set whose `index` is in `wanted`, in the set's own order."""
    keep = np.isin(landmarks.index, wanted)
    return LandmarkSet(
        landmarks.face[keep], landmarks.barycentric[keep], landmarks.index[keep],
        None if landmarks.corners is None else landmarks.corners[keep],
    )  # fmt: skip
