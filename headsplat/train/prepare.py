"""From a head, a track and images to what the trainer steps on."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headsplat.avatar import Avatar
from headsplat.gaussians.anchors import Anchors, sample_anchors, texel_anchors
from headsplat.gaussians.deform.blendshapes import BlendshapeDeformation
from headsplat.gaussians.deform.codes import (
    camera_center,
    condition_size,
    head_pose,
    neutral_condition,
    pose_head,
)
from headsplat.gaussians.deform.flashavatar import FlashAvatarDeformation
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.runtime.logs import log
from headsplat.train.dataset import ResidentImages, StreamedImages
from headsplat.train.initialize import View, make_start
from headsplat.train.options import TrainOptions
from headsplat.train.track import Track

# Frames that say where the surface shows, and frames that colors are taken from.
_VISIBILITY_FRAMES, _COLOR_FRAMES, _VIEW_BATCH = 48, 24, 4
# Faces no frame shows still carry a few anchors, so that other viewpoints see no hole.
_HIDDEN_DENSITY = 0.12


@dataclass(frozen=True)
class TrainingFrames:
    """The training frames by row, on the device.

    Attributes:
        ids: T frame ids.
        condition: (T, C) codes.
        rotation: (T, 3, 3) head to camera.
        translation: (T, 3) metres.
        intrinsics: (4,) pixels.
        weight: (T,) tracking confidence with mean 1.
        vertices: (T, n, 3) posed vertices that the anchors use, metres.
    """

    ids: list[int]
    condition: Tensor
    rotation: Tensor
    translation: Tensor
    intrinsics: Tensor
    weight: Tensor
    vertices: Tensor


def spread_rows(count: int, wanted: int) -> list[int]:
    """At most `wanted` rows of `count`, evenly over the clip."""
    return sorted({int(v) for v in np.linspace(0, count - 1, min(wanted, count))})


def face_visibility(head: HeadModel, track: Track, rows: Tensor) -> np.ndarray:
    """(F,) 1 where a face ever turns to the camera in some frames, else a small density."""
    geometry = HeadGeometry(head)
    some = rows[spread_rows(len(rows), _VISIBILITY_FRAMES)]
    best = torch.full((len(head.faces),), -1.0)
    for row in some.split(8):
        vertices = pose_head(geometry, track.shape, track.condition[row])
        a, b, c = (vertices[:, geometry.faces[:, k]] for k in range(3))
        normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
        center = camera_center(track.rotation[row], track.translation[row])
        view = torch.nn.functional.normalize(center[:, None] - a, dim=-1)
        best = torch.maximum(best, (normal * view).sum(-1).amax(0))
    # A little past edge-on: hair and disks of the rim show from there.
    return torch.where(best > -0.15, 1.0, _HIDDEN_DENSITY).numpy()


def make_anchors(head: HeadModel, track: Track, rows: Tensor, options: TrainOptions) -> Anchors:
    """Texels for `flashavatar`, samples by what the clip shows for `blendshapes`."""
    if options.model == FlashAvatarDeformation.name:
        return texel_anchors(head, options.uv_size)
    neutral = HeadGeometry(head).shaped(track.shape).numpy()
    visibility = face_visibility(head, track, rows)
    return sample_anchors(head, neutral, options.gaussians, visibility)


def empty_avatar(
    head: HeadModel, track: Track, rows: Tensor, options: TrainOptions, device: torch.device
) -> Avatar:
    """An avatar with its anchors and a deformation of the right shapes, not yet initialized."""
    anchors = make_anchors(head, track, rows, options)
    torch.manual_seed(options.seed)
    size = condition_size(head)
    deformation = (
        FlashAvatarDeformation(len(anchors), size)
        if options.model == FlashAvatarDeformation.name
        else BlendshapeDeformation(len(anchors), size, options.bases)
    )
    return Avatar(head, track.shape, anchors, deformation, device)


def training_frames(avatar: Avatar, track: Track, ids: list[int]) -> TrainingFrames:
    """Gather codes and cameras, and pose the head of every training frame once."""
    rows = track.rows(ids)
    device = avatar.device
    condition = track.condition[rows].to(device)
    with torch.no_grad():
        vertices = torch.cat([avatar.vertices(part) for part in condition.split(64)])
    log.info("geometry of %d frames: %.0f MiB", len(ids), vertices.nbytes / 2**20)
    weight = track.confidence[rows].clamp_min(0.05)
    return TrainingFrames(
        ids,
        condition,
        track.rotation[rows].to(device),
        track.translation[rows].to(device),
        track.intrinsics.to(device),
        (weight / weight.mean()).to(device),
        vertices,
    )


def initialize(
    avatar: Avatar, frames: TrainingFrames, images: ResidentImages | StreamedImages
) -> None:
    """Set the deformation's start from the geometry and the colors of some frames."""
    some = spread_rows(len(frames.ids), _COLOR_FRAMES)
    views = []
    for first in range(0, len(some), _VIEW_BATCH):
        rows = some[first : first + _VIEW_BATCH]
        views.append(
            View(
                *avatar.place(frames.vertices[rows]),
                frames.rotation[rows],
                frames.translation[rows],
                frames.intrinsics.expand(len(rows), 4).contiguous(),
                images.rows(rows),
            )
        )
    neutral = neutral_condition(avatar.head, avatar.device)
    rest, _ = avatar.place(avatar.vertices(neutral))
    pose = head_pose(frames.rotation)
    lifted = torch.from_numpy(avatar.anchors.height > 0).to(avatar.device)
    avatar.deformation.initialize(make_start(rest[0], lifted, views, frames.condition, pose))
