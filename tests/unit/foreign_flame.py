"""A small FLAME model, and FLAME's equations implemented independently of the library."""

from dataclasses import replace

import numpy as np
from PIL import Image

from headsplat.formats.importing.clip import ImportOptions
from headsplat.heads.model import HeadModel

from .toy_head import toy_head

# Of the toy's 40 vertices these hang on neck, jaw and eyes alone, as all of FLAME's head does.
HEAD_VERTICES = np.arange(30)


def small_flame(version: str = "2020-toy") -> HeadModel:
    """FLAME's numbers of codes on 40 vertices; the neck has no corrective, so folding is exact."""
    head = toy_head(40, 300, 100)
    skinning = head.skinning.copy()
    skinning[HEAD_VERTICES, 0] = 0
    skinning /= skinning.sum(1, keepdims=True)
    pose = head.pose_basis.copy()
    pose[..., :9] = 0
    return replace(head, name="flame", version=version, skinning=skinning, pose_basis=pose)


def options(head: HeadModel | None = None, **values) -> ImportOptions:
    return ImportOptions(head or small_flame(), **values)


def rodrigues(vector) -> np.ndarray:
    angle = np.linalg.norm(vector)
    if angle == 0:
        return np.eye(3)
    x, y, z = np.asarray(vector) / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def flame_vertices(
    head, shape, exp, pose, translation=(0, 0, 0), offset=0.0, vertices=HEAD_VERTICES
) -> np.ndarray:
    """(n, 3) vertices; `pose` is 15 axis-angle numbers: global, neck, jaw, left eye, right eye."""
    wide = {k: np.asarray(getattr(head, k), np.float64) for k in ("template", "joint_regressor")}
    shaped = wide["template"] + head.shape_basis.astype(float) @ shape
    shaped = shaped + head.expression_basis.astype(float) @ exp + offset
    joints = wide["joint_regressor"] @ shaped
    turns = [rodrigues(v) for v in np.reshape(pose, (5, 3))]
    feature = np.concatenate([(turn - np.eye(3)).ravel() for turn in turns[1:]])
    shaped = shaped + head.pose_basis.astype(float) @ feature
    world = []
    for joint, parent in enumerate(head.parents):
        local = np.eye(4)
        local[:3, :3] = turns[joint]
        local[:3, 3] = joints[joint] - (joints[parent] if parent >= 0 else 0)
        world.append(world[parent] @ local if parent >= 0 else local)
    total = np.zeros((len(shaped), 3))
    for joint, matrix in enumerate(world):
        moved = (shaped - joints[joint]) @ matrix[:3, :3].T + matrix[:3, 3]
        total += head.skinning[:, joint : joint + 1].astype(float) * moved
    return total[vertices] + np.asarray(translation)


def track_vertices(head, track, row: int, vertices=HEAD_VERTICES, lids: bool = False) -> np.ndarray:
    """(n, 3) vertices in the head's frame that a row of a track describes."""

    def vector(six):
        turn = np.stack([six[:3], six[3:], np.cross(six[:3], six[3:])])
        angle = np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1))
        if angle == 0:
            return np.zeros(3)
        axis = [turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]
        return np.array(axis) / (2 * np.sin(angle)) * angle

    pose = np.concatenate(
        [np.zeros(6), *(vector(v) for v in (track.jaw[row], *track.eyes[row].reshape(2, 6)))]
    )
    found = flame_vertices(head, track.shape, track.exp[row], pose, vertices=vertices)
    return found + (head.eyelid_basis[vertices] @ track.eyelids[row] if lids else 0)


def project(track, points, row: int) -> np.ndarray:
    """(n, 2) pixels by the track's OpenCV camera."""
    seen = (points @ track.R[row].T + track.t[row]) @ track.K.T
    return seen[:, :2] / seen[:, 2:]


def image(path, size=(32, 32), value: int = 90, mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (size[1], size[0]), (value,) * 3 if mode == "RGB" else value).save(path)


def poses(count: int, scale: float = 0.2, seed: int = 5) -> np.ndarray:
    """(count, 15) random axis-angles."""
    return np.random.default_rng(seed).normal(size=(count, 15)) * scale
