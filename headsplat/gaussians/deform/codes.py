"""The frame's code exp | jaw | eyes | eyelids as one vector, and how a camera sees the head."""

import torch
from torch import Tensor

from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_6d, matrix_to_6d

JAW, EYES, EYELIDS = 6, 12, 2
POSE = 6


def condition_size(head: HeadModel) -> int:
    """C of a head: its expressions, jaw 6D, two eyes 6D, two eyelids."""
    return head.expression_basis.shape[2] + JAW + EYES + EYELIDS


def neutral_condition(head: HeadModel, device: torch.device | str) -> Tensor:
    """(1, C) the code of a resting face: no expression, mouth shut, eyes straight and open."""
    code = torch.zeros(1, condition_size(head), device=device)
    expressions = code.shape[1] - JAW - EYES - EYELIDS
    identity = code.new_tensor([1.0, 0, 0, 0, 1, 0])
    code[0, expressions : expressions + JAW + EYES] = identity.repeat(3)
    return code


def pose_head(
    geometry: HeadGeometry, shape: Tensor, condition: Tensor, vertex_ids: Tensor | None = None
) -> Tensor:
    """Vertices of coded frames: (S,) and (B, C) -> (B, n, 3) metres, in the head's frame."""
    expressions = condition.shape[1] - JAW - EYES - EYELIDS
    exp, jaw, eyes, lids = condition.split([expressions, JAW, EYES, EYELIDS], 1)
    rotations = matrix_from_6d(eyes.unflatten(1, (2, 6)))
    return geometry.vertices(
        shape, exp, matrix_from_6d(jaw), rotations, lids, vertex_ids=vertex_ids
    )


def head_pose(rotation: Tensor) -> Tensor:
    """(B, 3, 3) head to OpenCV camera -> (B, 6); a head that faces the camera is the identity."""
    flip = rotation.new_tensor([1.0, -1.0, -1.0])
    return matrix_to_6d(flip[:, None] * rotation)


def camera_center(rotation: Tensor, translation: Tensor) -> Tensor:
    """(B, 3, 3), (B, 3) -> (B, 3): where the camera is in the head's frame, metres."""
    return -(rotation.transpose(1, 2) @ translation[..., None])[..., 0]
