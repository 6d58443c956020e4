"""Avatars on the sphere head and moving frames, for rendering tests."""

import torch

from headsplat.avatar import Avatar
from headsplat.frame_code import FrameCode
from headsplat.gaussians.anchors import sample_anchors
from headsplat.gaussians.deform.registry import build_deformation
from headsplat.rotations import matrix_from_axis_angle
from tests.unit.sphere_head import sphere_head

COUNT = 300
BACKGROUND = torch.tensor([0.1, 0.5, 0.9])


def sphere_avatar(model: str, device: str = "cpu") -> Avatar:
    """An avatar on the sphere head with visible, uneven Gaussians."""
    torch.manual_seed(0)
    head = sphere_head()
    anchors = sample_anchors(head, head.template, COUNT)
    settings = {"count": COUNT, "condition_size": FrameCode.size(head)}
    deformation = build_deformation(model, settings)
    with torch.no_grad():
        for parameter in deformation.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        if model == "flashavatar":
            deformation.scaling_base.fill_(-6.0)
            deformation.mlp.output_linear.weight.mul_(0.01)
            deformation.mlp.output_linear.bias.mul_(0.01)
        else:
            _, quat, scale, _, _ = deformation._split(deformation.weights[0])
            quat[:, 0] = 50
            scale.fill_(-300)
    return Avatar(head, torch.zeros(2), anchors, deformation, torch.device(device))


def moving(count: int, distance: float = 0.7) -> list[torch.Tensor]:
    """Codes, rotations and translations of some frames, all different."""
    phase = torch.arange(count) / count * 2 * torch.pi
    turn = 0.3 * torch.sin(phase)[:, None] * torch.tensor([0.2, 1.0, 0.0])
    rotation = torch.diag(torch.tensor([1.0, -1, -1])) @ matrix_from_axis_angle(turn)
    condition = FrameCode.neutral(sphere_head()).vector[None].repeat(count, 1)
    condition[:, :2] = torch.stack([torch.sin(phase), torch.cos(phase)], 1)
    return [condition, rotation, torch.tensor([0.0, 0, distance]).repeat(count, 1)]
