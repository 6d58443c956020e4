"""An avatar on the sphere head whose lower half is neck, and trunk poses under it."""

from dataclasses import replace

import torch

from headsplat.avatar import Avatar
from headsplat.rotations import matrix_from_axis_angle
from tests.unit.sphere_avatar import sphere_avatar

# Meters below the sphere's center where the neck begins, and over which it follows the trunk.
NECK, SPAN = 0.02, 0.05


def trunk_avatar(model: str = "blendshapes", device: str = "cpu") -> Avatar:
    """An avatar whose lowest vertices follow the trunk."""
    avatar = sphere_avatar(model, device)
    share = ((-avatar.head.template[:, 1] - NECK) / SPAN).clip(0, 1)
    skinning = avatar.head.skinning.copy()
    skinning[:, 0], skinning[:, 1] = share, 1 - share
    head = replace(avatar.head, skinning=skinning)
    return Avatar(head, avatar.shape, avatar.anchors, avatar.deformation, avatar.device)


def trunk_poses(count: int) -> torch.Tensor:
    """(count, 3, 4) trunk to head, all different."""
    phase = torch.arange(count) / count * 2 * torch.pi
    turn = 0.4 * torch.stack([0.3 * torch.cos(phase), torch.sin(phase), 0 * phase], 1)
    moved = 0.01 * torch.stack([torch.cos(phase), 0 * phase, torch.sin(phase)], 1)
    return torch.cat([matrix_from_axis_angle(turn), moved[..., None]], 2)
