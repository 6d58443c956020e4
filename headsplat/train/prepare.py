"""Untrained avatar and training frames from a head, a track and images."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headsplat.avatar import Avatar, moving_parts
from headsplat.frame_code import FrameCode
from headsplat.gaussians.deform.base import HeadSurface
from headsplat.gaussians.deform.codes import camera_center, head_pose_6d, posed_vertices
from headsplat.gaussians.deform.registry import model_class
from headsplat.gaussians.parts import anchor_parts
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.runtime.logs import log
from headsplat.track import Track
from headsplat.train.dataset import ResidentImages, StreamedImages
from headsplat.train.initialize import View, initial_state
from headsplat.train.options import TrainOptions

# Numbers of frames for visibility and for color sampling, and the batch size of the latter.
_VISIBILITY_FRAMES, _COLOR_FRAMES, _VIEW_BATCH = 48, 24, 4
# Relative anchor density on faces that no frame shows; it avoids holes in novel views.
_HIDDEN_DENSITY = 0.12


@dataclass(frozen=True)
class TrainingFrames:
    """The training frames by row, on the device.

    Attributes:
        ids: T frame ids.
        condition: (T, C) codes.
        rotation: (T, 3, 3) head to camera.
        translation: (T, 3) meters.
        intrinsics: (4,) pixels.
        weight: (T,) tracking confidence with mean 1.
        vertices: (T, n, 3) posed vertices that the anchors use, meters.
        trunk: (T, 3, 4) trunk to head, or None of a track without a trunk.
    """

    ids: list[int]
    condition: Tensor
    rotation: Tensor
    translation: Tensor
    intrinsics: Tensor
    weight: Tensor
    vertices: Tensor
    trunk: Tensor | None


def spread_rows(count: int, wanted: int) -> list[int]:
    """At most `wanted` of `count` rows, evenly spaced over the clip."""
    return sorted({int(v) for v in np.linspace(0, count - 1, min(wanted, count))})


def face_visibility(head: HeadModel, track: Track, rows: np.ndarray) -> np.ndarray:
    """(F,) density of each face: 1 if it faces the camera in some frame, else small."""
    geometry = HeadGeometry(head)
    some = track[rows[spread_rows(len(rows), _VISIBILITY_FRAMES)]].frames()
    best = torch.full((len(head.faces),), -1.0)
    parts = zip(*(value.split(8) for value in moving_parts(some)), strict=True)
    for codes, rotation, translation, *trunk in parts:
        vertices = posed_vertices(geometry, track.identity(), codes, None, *trunk)
        a, b, c = (vertices[:, geometry.faces[:, k]] for k in range(3))
        normal = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
        center = camera_center(rotation, translation)
        view = torch.nn.functional.normalize(center[:, None] - a, dim=-1)
        best = torch.maximum(best, (normal * view).sum(-1).amax(0))
    # Slightly past edge-on, because hair and disks at the silhouette are visible there.
    return torch.where(best > -0.15, 1.0, _HIDDEN_DENSITY).numpy()


def empty_avatar(
    head: HeadModel,
    track: Track,
    rows: np.ndarray,
    options: TrainOptions,
    device: torch.device,
    hair: Callable[[], np.ndarray | None] = lambda: None,
) -> Avatar:
    """An avatar with anchors and an uninitialized deformation model.

    `hair` is the function of `HeadSurface`.
    """
    model = model_class(options.model)
    neutral = HeadGeometry(head).shaped(track.identity()).numpy()
    surface = HeadSurface(head, neutral, lambda: face_visibility(head, track, rows), hair)
    anchors = model.make_anchors(surface, options.own)
    torch.manual_seed(options.seed)
    deformation = model.create(len(anchors), FrameCode.size(head), options.own)
    return Avatar(head, track.identity(), anchors, deformation, device)


def training_frames(avatar: Avatar, track: Track, ids: list[int]) -> TrainingFrames:
    """Codes, cameras and posed vertices of every training frame."""
    some = track[track.rows(ids)]
    frames = some.frames()
    device = avatar.device
    condition = frames.code.vector.to(device)
    with torch.no_grad():
        trunk = None if frames.trunk is None else frames.trunk.to(device)
        parts = (condition,) if trunk is None else (condition, trunk)
        split = zip(*(value.split(64) for value in parts), strict=True)
        vertices = torch.cat([avatar.vertices(*part) for part in split])
    log.info("geometry of %d frames: %.0f MiB", len(ids), vertices.nbytes / 2**20)
    weight = torch.from_numpy(some.confidence).clamp_min(0.05)
    return TrainingFrames(
        ids,
        condition,
        frames.rotation.to(device),
        frames.translation.to(device),
        frames.intrinsics.to(device),
        (weight / weight.mean()).to(device),
        vertices,
        trunk,
    )


def initialize(
    avatar: Avatar, frames: TrainingFrames, images: ResidentImages | StreamedImages
) -> None:
    """Initialize the deformation from the geometry and the image colors of some frames."""
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
    neutral = FrameCode.neutral(avatar.head, avatar.device)
    rest, _ = avatar.place(avatar.vertices(neutral.vector[None]))
    pose = head_pose_6d(frames.rotation)
    lifted = torch.from_numpy(avatar.anchors.height > 0).to(avatar.device)
    parts = torch.from_numpy(anchor_parts(avatar.head, avatar.anchors)).to(avatar.device)
    start = initial_state(
        rest[0], lifted, views, frames.condition, pose, parts, _lid_growth(avatar)
    )
    avatar.deformation.initialize(start)


def _lid_growth(avatar: Avatar) -> Tensor:
    """(N, 2, 2) `InitialState.lid_growth` of an avatar's neutral head."""
    codes = FrameCode.neutral(avatar.head, avatar.device).vector.repeat(3, 1)
    codes[1:, -2:] = torch.eye(2, device=avatar.device)  # the left lid shut, then the right one
    open_lids, *shut = avatar.vertices(codes)
    return torch.stack([avatar.growth(open_lids, lids) for lids in shut], 1)
