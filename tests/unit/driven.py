"""Driven test subject on a sphere head: head model, track and avatar as files."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from headsplat.avatar import Avatar
from headsplat.avatar_files import save_avatar
from headsplat.drive.subject import DrivenSubject
from headsplat.frame_code import FrameCode
from headsplat.gaussians.anchors import sample_anchors
from headsplat.gaussians.deform.registry import build_deformation
from headsplat.heads.model import HeadModel
from headsplat.rotations import matrix_from_axis_angle, matrix_to_6d
from headsplat.track import Track, head_moves, write_track
from tests.unit.sphere_head import sphere_head

SIZE, FOCAL, DISTANCE = 48, 120.0, 0.8
ARKIT_SHAPES = ("browInnerUp_L", "browInnerUp_R", "eyeBlink_L", "eyeLookOut_L", "jawOpen",
                "mouthSmile_L", "mouthSmile_R")  # fmt: skip


def flame_like() -> HeadModel:
    """A sphere head with FLAME's code lengths; shape and expression move its joints."""
    head = sphere_head(expressions=100)
    rng = np.random.default_rng(4)
    count = len(head.template)
    regressor = rng.random((5, count)).astype(np.float32)
    return replace(
        head,
        shape_basis=(rng.normal(size=(count, 3, 300)) * 1e-3).astype(np.float32),
        shape_std=np.ones(300, np.float32),
        expression_basis=(rng.normal(size=(count, 3, 100)) * 1e-3).astype(np.float32),
        joint_regressor=regressor / regressor.sum(1, keepdims=True),
        name="flame",
        version="2020-0123abcd",
    )


def arkit_like() -> HeadModel:
    """A sphere head whose expression shapes have ARKit's names, as ICT's have."""
    head = sphere_head(expressions=len(ARKIT_SHAPES))
    bounds = np.tile(np.array([0, 1], np.float32), (len(ARKIT_SHAPES), 1))
    return replace(head, expression_names=ARKIT_SHAPES, expression_range=bounds, name="ict")


def make_track(head: HeadModel, count: int = 12, seed: int = 0, fps: float = 25.0) -> Track:
    """A track with varying codes and head turns up to about 25 degrees about all axes."""
    rng = np.random.default_rng(seed)
    expressions = head.expression_basis.shape[2]

    def six(angle: float, joints: int) -> np.ndarray:
        turns = matrix_from_axis_angle(
            torch.from_numpy(rng.normal(size=(count, joints, 3)) * angle)
        )
        return matrix_to_6d(turns).flatten(1).numpy()

    turns = matrix_from_axis_angle(torch.from_numpy(rng.uniform(-0.25, 0.25, (count, 3))))
    R = np.diag([1.0, -1, -1]) @ turns.numpy()
    t = np.array([0, 0, DISTANCE]) + rng.normal(size=(count, 3)) * 0.01
    head_R, head_t, camera_R, camera_t = head_moves(R, t)
    none = np.zeros(count)
    return Track(
        ids=np.arange(1, count + 1), status=np.full(count, "ok"), confidence=np.ones(count),
        interpolated=np.zeros(count, bool), shape=np.zeros(head.shape_basis.shape[2]),
        exp=rng.uniform(0, 1, (count, expressions)), jaw=six(0.2, 1), eyes=six(0.3, 2),
        eyelids=rng.uniform(0, 1, (count, 2)), R=R, t=t,
        K=np.array([[FOCAL, 0, SIZE / 2 + 1], [0, FOCAL, SIZE / 2 - 2], [0, 0, 1]]),
        img_size=np.array([SIZE, SIZE]), head_R=head_R, head_t=head_t, camera_R=camera_R,
        camera_t=camera_t, residual_px=none, residual_iod=none,
        residual_group=np.zeros((count, 1)), group_names=np.array(["all"]),
        head_name=head.name, head_version=head.version, head_licence=head.licence, fps=fps,
    )  # fmt: skip


def make_avatar(head: HeadModel, shape: np.ndarray) -> Avatar:
    """An avatar with uneven patches on the sphere, which follow the surface."""
    torch.manual_seed(0)
    count = 300
    anchors = sample_anchors(head, head.template, count)
    settings = {"count": count, "condition_size": FrameCode.size(head), "bases": 3}
    deformation = build_deformation("blendshapes", settings)
    with torch.no_grad():
        _, quat, scale, opacity, color = deformation._split(deformation.weights[0])
        quat[:, 0], opacity[:] = 50, 60
        scale.fill_(-250)
        color.copy_(100 * torch.rand(count, 3))
    return Avatar(head, torch.from_numpy(shape).float(), anchors, deformation, torch.device("cpu"))


def make_driven_subject(head: HeadModel, track: Track) -> DrivenSubject:
    """The driven subject of a head and track."""
    return DrivenSubject.from_track(
        "own.npz", head, torch.from_numpy(np.asarray(track.shape)), track
    )


@dataclass(frozen=True)
class Driven:
    """Paths of one subject; `arguments` are those of the script."""

    avatar: Path
    head: Path
    track: Path

    def arguments(self) -> list[str]:
        return [p for n in ("avatar", "head", "track") for p in (f"--{n}", str(getattr(self, n)))]


def make_subject(avatar: Path, head_file: Path, track_file: Path, head: HeadModel) -> Driven:
    """Write a subject's files."""
    track = make_track(head)
    head.save(head_file)
    write_track(track_file, track)
    avatar.mkdir(parents=True)
    save_avatar(avatar, make_avatar(head, np.asarray(track.shape)), head_file, track_file)
    return Driven(avatar, head_file, track_file)
