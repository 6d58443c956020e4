"""Gaussians of an avatar with gradients for codes and poses.

Training needs gradients for the deformation model's parameters only, and its operators give no
others. Here the anchors' positions and turns get gradients too.
"""

from dataclasses import replace

import torch
from torch import Tensor

from headsplat.avatar import Avatar
from headsplat.gaussians.deform.base import Gaussians
from headsplat.rotations import matrix_from_quaternion


def differentiable_gaussians(
    avatar: Avatar, condition: Tensor, rotation: Tensor, translation: Tensor, trunk: Tensor | None
) -> Gaussians:
    """Gaussians of a batch, with gradients for all arguments.

    A Gaussian is carried by its anchor: what its place and turn relative to the anchor are does not
    depend on the anchor. That is exact for `blendshapes`.

    Args:
        avatar: in the head's canonical frame, meters.
        condition: (B, C) codes.
        rotation: (B, 3, 3) head to camera.
        translation: (B, 3) meters.
        trunk: (B, 3, 4) trunk to head, or None.
    """
    vertices = avatar.vertices(condition, trunk)
    with torch.no_grad():
        fixed = avatar.inputs(condition, vertices, rotation, translation)
        axes = matrix_from_quaternion(fixed.rotations)
    inputs = avatar.inputs(condition, vertices.detach(), rotation, translation)
    made = avatar.deformation(inputs)
    positions, turns = avatar.anchor_frames(vertices)
    # Both have the value zero and the right gradient.
    moved = positions - positions.detach()
    turned = turns - turns.detach()
    with torch.no_grad():
        local = axes.mT @ (made.means - fixed.positions)[..., None]
    means = made.means + moved + (turned @ local)[..., 0]
    quats = made.quats + 0.5 * _times(_vector(turned @ axes.mT), made.quats.detach())
    return replace(made, means=means, quats=quats)


def _vector(matrix: Tensor) -> Tensor:
    """(..., 3, 3) small rotation less the identity -> (..., 3) its rotation vector."""
    odd = (matrix - matrix.mT) / 2
    return torch.stack([odd[..., 2, 1], odd[..., 0, 2], odd[..., 1, 0]], -1)


def _times(vector: Tensor, quats: Tensor) -> Tensor:
    """Products of pure quaternions (..., 3) and quaternions (..., 4)."""
    w, xyz = quats[..., :1], quats[..., 1:]
    real = -(vector * xyz).sum(-1, keepdim=True)
    return torch.cat([real, w * vector + torch.linalg.cross(vector, xyz)], -1)
