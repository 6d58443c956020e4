"""Avatars for the tests of the web page: overlapping Gaussians, which depend on their order."""

from dataclasses import replace

import numpy as np
import torch

from headsplat.avatar import Avatar
from headsplat.drive.limits import DrivingLimits
from headsplat.frame_code import FrameCode
from headsplat.gaussians.anchors import Anchors, sample_anchors
from headsplat.gaussians.deform.registry import build_deformation
from headsplat.gaussians.deform.torso import Torso
from headsplat.heads.model import HeadModel
from headsplat.track import Track
from tests.unit.driven import arkit_like, make_track
from tests.unit.trunk_avatar import trunk_poses

COUNT, TORSO, BASES, FRAMES, SIZE = 1300, 200, 6, 60, 256


def web_head() -> HeadModel:
    """A sphere with ARKit's shapes, pose correctives, and a lower part that follows the trunk."""
    head = arkit_like()
    rng = np.random.default_rng(1)
    share = ((-head.template[:, 1] - 0.02) / 0.05).clip(0, 1)
    joints = rng.dirichlet((4, 1, 1, 1), len(share))
    skinning = np.concatenate([share[:, None], joints * (1 - share[:, None])], 1)
    regressor = rng.random(head.joint_regressor.shape)

    def noise(last: int) -> np.ndarray:
        return (rng.normal(size=(len(share), 3, last)) * 1e-3).astype(np.float32)

    return replace(
        head, skinning=skinning.astype(np.float32), pose_basis=noise(36), eyelid_basis=noise(2),
        joint_regressor=(regressor / regressor.sum(1, keepdims=True)).astype(np.float32),
        shape_basis=noise(head.shape_basis.shape[2]),
    )  # fmt: skip


def web_track(head: HeadModel) -> Track:
    """Frames in a camera whose images have `SIZE` pixels a side; the trunk moves."""
    track = make_track(head, FRAMES)
    K = np.array([[650.0, 0, SIZE / 2 + 5], [0, 640, SIZE / 2 - 9], [0, 0, 1]])
    trunk = trunk_poses(FRAMES).double().numpy()
    return replace(
        track, K=K, img_size=np.array([SIZE, SIZE]), trunk_R=track.R @ trunk[:, :, :3],
        trunk_t=(track.R @ trunk[:, :, 3:])[..., 0] + track.t,
    )  # fmt: skip


def web_avatar(model: str, head: HeadModel, torso: bool = True) -> Avatar:
    """An avatar with uneven, colorful Gaussians, half of them translucent."""
    torch.manual_seed(0)
    anchors = sample_anchors(head, head.template, COUNT)
    if model == "flashavatar":
        size = {"count": COUNT, "condition_size": FrameCode.size(head), "degree": 3}
        deformation = _flash(build_deformation(model, size), head, anchors)
    else:
        size = {"count": COUNT, "condition_size": FrameCode.size(head), "bases": BASES}
        points = torch.from_numpy(anchors.rest_points(head.template, head.faces))
        deformation = _blendshapes(build_deformation(model, size), points)
    shape = 0.1 * torch.randn(head.shape_basis.shape[2])
    return Avatar(
        head, shape, anchors, deformation, torch.device("cpu"), torso=_torso() if torso else None
    )


def _blendshapes(deformation, points: torch.Tensor):
    with torch.no_grad():
        for parameter in deformation.parameters():
            parameter.copy_(0.1 * torch.randn_like(parameter))
        _stored(deformation.weights, points)
        deformation.code_range.copy_(torch.tensor([[-0.9], [0.9]]).expand(2, -1))
        deformation.code_mean.normal_(0, 0.1)
        deformation.code_scale.uniform_(0.2, 0.4)
    return deformation


def _stored(weights: torch.Tensor, points: torch.Tensor) -> None:
    """A base of disks of 1 to 5 mm, and small bases. Neighbors are alike, as in a face."""
    count = len(points)
    weights[1:].normal_(0, 0.3)
    base = weights[0]
    base[: 3 * count].normal_(0, 2)
    base[3 * count : 7 * count] = torch.randn(4 * count) * 40
    base[7 * count : 10 * count].uniform_(-345, -265)
    base[10 * count : 11 * count].normal_(10, 40)
    color = (
        50 + 45 * torch.sin(points * torch.tensor([40.0, 60.0, 80.0])) + 5 * torch.randn(count, 3)
    )
    base[11 * count :] = color.flatten()


def _flash(deformation, head: HeadModel, anchors: Anchors):
    points = torch.from_numpy(anchors.rest_points(head.template, head.faces))
    with torch.no_grad():
        deformation.features_dc.copy_(1.5 * torch.sin(50 * points)[:, None])
        deformation.features_rest.normal_(0, 0.15)
        deformation.opacity.normal_(0.5, 2)
        deformation.scaling_base.uniform_(-6.9, -5.4)
        deformation.rotation_base.normal_()
        deformation.rest_positions.copy_(points)
        deformation.mlp.output_linear.weight.mul_(0.08)
        deformation.mlp.output_linear.weight[:3].mul_(0.2)
        deformation.mlp.output_linear.bias.zero_()
    return deformation


def _torso() -> Torso:
    torso = Torso(TORSO)
    with torch.no_grad():
        place = torch.rand(TORSO, 3) * torch.tensor([0.2, 0.05, 0.05])
        torso.rest.copy_(place - torch.tensor([0.1, 0.13, 0.03]))
        _stored(torso.weights, torso.rest)
        torso.code_range.copy_(torch.tensor([[-0.3], [0.3]]).expand(2, -1))
        torso.code_scale.uniform_(0.1, 0.3)
    return torso


def frames_with_extremes(avatar: Avatar, track: Track, count: int = 8) -> tuple[torch.Tensor, ...]:
    """Codes, rotations, translations and trunks: half of the track, half at the codes' limits."""
    limits = DrivingLimits.from_track(track, avatar.deformation.code_limit).codes.float()
    rows = np.linspace(0, len(track) - 1, count).astype(int)
    batch = track[rows].frames()
    codes, random = batch.code.vector.clone(), torch.Generator().manual_seed(0)
    for row in range(count // 2, count):
        pick = torch.rand(codes.shape[1], generator=random)
        codes[row] = torch.where(pick < 0.25, limits[0], codes[row])
        codes[row] = torch.where(pick > 0.75, limits[1], codes[row])
    codes = torch.minimum(torch.maximum(codes, limits[0]), limits[1])
    return codes, batch.rotation, batch.translation, batch.trunk
