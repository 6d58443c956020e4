"""A short rendered FLAME clip in the formats of VHAP, IMavatar and flame-head-tracker.

The tools store head motion in different parameters; all imports must yield the same `Motion`.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from headsplat.camera import project, vector_from_matrix
from headsplat.gaussians.raster.triangles import interpolate, rasterize_triangles
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_axis_angle

FLIP = np.diag([1.0, -1.0, -1.0])
SIZE = 96


@dataclass(frozen=True)
class Motion:
    """Codes and cameras of N frames; rotations are axis-angles, float64.

    Attributes:
        shape: (300,); exp (N, 100). Zero beyond 100 and 50, so that every format can store them.
        jaw: (N, 3); turn (N, 3) of the head; place (N, 3) of its root joint, meters.
    """

    shape: np.ndarray
    exp: np.ndarray
    jaw: np.ndarray
    turn: np.ndarray
    place: np.ndarray


def rotation(vector: np.ndarray) -> np.ndarray:
    """(N, 3) -> (N, 3, 3)."""
    return matrix_from_axis_angle(torch.as_tensor(vector)).numpy()


def make_motion(count: int) -> Motion:
    rng = np.random.default_rng(2)
    phase = np.arange(count) / count * 4 * np.pi
    zero = np.zeros(count)
    shape, exp = np.zeros(300), np.zeros((count, 100))
    shape[:12] = rng.normal(size=12) * 0.5
    exp[:, :8] = 0.2 * (1 + np.sin(phase[:, None] * rng.uniform(1, 3, 8)))
    return Motion(
        shape, exp,
        np.stack([0.12 * (1 + np.sin(2 * phase)), zero, zero], 1),
        np.stack([0.15 * np.sin(1.3 * phase), 0.4 * np.sin(phase), 0.05 * np.cos(phase)], 1),
        np.stack([0.01 * np.sin(phase), 0.01 * np.cos(phase), 0.02 * np.sin(phase)], 1),
    )  # fmt: skip


class Studio:
    """Renders a head, colored by surface position in the rest pose."""

    def __init__(self, head: HeadModel) -> None:
        self._head, self._geometry = head, HeadGeometry(head)
        colors = 0.5 + 0.4 * np.sin(head.template * [70, 90, 60] + [0, 1, 2])
        lips = np.zeros(len(head.template))
        lips[head.regions["lips"]] = 1
        self._paint = torch.as_tensor(np.c_[colors, lips, np.ones(len(lips))]).float()

    def joints(self, motion: Motion) -> np.ndarray:
        """(N, 5, 3) meters."""
        shape, exp = (torch.as_tensor(v).float() for v in (motion.shape, motion.exp))
        return self._geometry.joints(shape, exp).double().numpy()

    def shoot(
        self, motion: Motion, R: np.ndarray, t: np.ndarray, K: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(N, S, S, 3) images on gray, (N, S, S) matte and mouth mask, 0 or 255; all uint8."""
        count = len(R)
        values = [torch.as_tensor(v).float() for v in (motion.shape, motion.exp, R, t, K)]
        shape, exp, R, t, K = values
        eyes = torch.eye(3).expand(count, 2, 3, 3)
        jaw = torch.as_tensor(rotation(motion.jaw)).float()
        vertices = self._geometry.vertices(shape, exp, jaw, eyes, torch.zeros(count, 2))
        screen = project(vertices, R, t, vector_from_matrix(K))
        faces = self._geometry.faces
        face, bary = rasterize_triangles(screen, faces, SIZE, SIZE, cull_backfaces=True)
        seen = interpolate(face, bary, faces, self._paint).numpy()
        matte, mouth = seen[..., 4] > 0.5, seen[..., 3] > 0.5
        images = np.where(matte[..., None], seen[..., :3], 0.25) * 255
        return images.astype(np.uint8), *((m * 255).astype(np.uint8) for m in (matte, mouth))


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_vhap(folder: Path, motion: Motion, studio: Studio) -> tuple[np.ndarray, ...]:
    """Write VHAP's monocular layout: static camera, moving head; R, t, K must be read exactly."""
    focal, distance = 2.6 * SIZE, 0.9
    joint = studio.joints(motion)[:, 0]
    turn = rotation(motion.turn)
    R = FLIP @ turn
    shift = joint - (turn @ joint[..., None])[..., 0] + motion.place
    t = shift @ FLIP + [0, 0, distance]
    K = np.array([[focal, 0, SIZE / 2], [0, focal, SIZE / 2], [0, 0, 1]])
    images, mattes, _ = studio.shoot(motion, R, t, K)
    camera = {"cx": SIZE / 2, "cy": SIZE / 2, "fl_x": focal, "fl_y": focal, "h": SIZE, "w": SIZE}
    camera |= dict.fromkeys(("camera_angle_x", "camera_angle_y"), 2 * np.arctan(1 / 5.2))
    to_world = np.eye(4)
    to_world[2, 3] = distance
    frames = []
    (folder / "flame_param").mkdir(parents=True)
    for k in range(len(R)):
        name, number = f"{k:05d}_00.png", f"{k:05d}"
        save(folder / "images" / name, images[k])
        save(folder / "fg_masks" / name, mattes[k])
        np.savez(
            folder / "flame_param" / f"{number}.npz",
            translation=motion.place[[k]], rotation=motion.turn[[k]], neck_pose=np.zeros((1, 3)),
            jaw_pose=motion.jaw[[k]], eyes_pose=np.zeros((1, 6)), shape=motion.shape,
            expr=motion.exp[[k]], static_offset=np.zeros((1, 5143, 3)),
        )  # fmt: skip
        frames.append({
            "timestep_index": k, "timestep_index_original": k, "timestep_id": number,
            "camera_index": 0, "camera_id": "0", **camera, "transform_matrix": to_world.tolist(),
            "file_path": f"images/{name}", "fg_mask_path": f"fg_masks/{name}",
            "flame_param_path": f"flame_param/{number}.npz",
        })  # fmt: skip
    table = {**camera, "timestep_indices": list(range(len(R))), "camera_indices": [0]}
    (folder / "transforms.json").write_text(json.dumps({"frames": frames, **table}))
    return R, t, K


def write_imavatar(folder: Path, motion: Motion, studio: Studio) -> tuple[np.ndarray, ...]:
    """Write IMavatar's layout: head rotation in the neck, camera scaled by 4, fx negative."""
    joint = studio.joints(motion)[:, 1]
    turn = rotation(motion.turn)
    R = FLIP @ turn
    world = motion.place + [0.0, 0.01, -0.95]
    t = (joint - (turn @ joint[..., None])[..., 0] + world) @ FLIP
    inner = [-2.9, 2.8, 0.51, 0.49]
    K = np.array([[-inner[0], 0, inner[2]], [0, inner[1], inner[3]], [0, 0, 1 / SIZE]]) * SIZE
    images, mattes, mouths = studio.shoot(motion, R, t, K)
    frames = []
    for k in range(len(R)):
        classes = np.where(mattes[k] > 0, 1, 0)
        save(folder / "image" / f"{k + 1}.png", images[k])
        save(folder / "mask" / f"{k + 1}.png", mattes[k])
        classes = np.where(mouths[k] > 0, 12, classes).astype(np.uint8)
        save(folder / "semantic" / f"{k + 1}.png", classes)
        pose = np.concatenate([np.zeros(3), motion.turn[k], motion.jaw[k], np.zeros(6)])
        frames.append({
            "file_path": f"./image/{k + 1}", "world_mat": np.c_[np.eye(3), 4 * world[k]].tolist(),
            "expression": motion.exp[k, :50].tolist(), "pose": pose.tolist(),
            "bbox": [-0.5, -0.5, 0.5, 0.5], "flame_keypoints": np.zeros((68, 2)).tolist(),
        })  # fmt: skip
    table = {"intrinsics": inner, "shape_params": motion.shape[:100].tolist(), "frames": frames}
    (folder / "flame_params.json").write_text(json.dumps(table))
    return R, t, K


def write_flame_head_tracker(
    folder: Path, motion: Motion, studio: Studio
) -> tuple[np.ndarray, ...]:
    """Write flame-head-tracker's layout: camera-to-world as angles and center, aligned images."""
    folder.mkdir(parents=True)
    focal = 128 / np.tan(np.deg2rad(10))
    small = np.array([[focal, 0, 128], [0, focal, 128], [0, 0, 1]])
    K = np.diag([SIZE / 256, SIZE / 256, 1]) @ small
    R, t = FLIP @ rotation(motion.turn), motion.place @ FLIP + [0, 0, 1.0]
    images, _, _ = studio.shoot(motion, R, t, K)
    camera = R.swapaxes(1, 2) @ FLIP
    center = -(R.swapaxes(1, 2) @ t[..., None])[..., 0]
    angles = (
        np.arcsin(-camera[:, 2, 0]),
        np.arctan2(camera[:, 2, 1], camera[:, 2, 2]),
        np.arctan2(camera[:, 1, 0], camera[:, 0, 0]),
    )
    for k in range(len(R)):
        aligned = images[[k]]
        np.savez_compressed(
            folder / f"{k}.npz",
            shape=motion.shape[None].astype(np.float32), exp=motion.exp[[k]].astype(np.float32),
            head_pose=np.zeros((1, 3)), jaw_pose=motion.jaw[[k]], eye_pose=np.zeros((1, 6)),
            tex=np.zeros((1, 50)), light=np.zeros((1, 9, 3)), fov=np.array([20.0]), K=small[None],
            cam=np.array([[*(angle[k] for angle in angles), *center[k]]]),
            img=aligned, img_aligned=aligned, parsing=np.zeros((1, SIZE, SIZE), np.int64),
            parsing_aligned=np.zeros((1, SIZE, SIZE), np.int64), lmks_68=np.zeros((1, 68, 2)),
            lmks_eyes=np.zeros((1, 10, 2)), blendshape_scores=np.zeros((1, 52)),
        )  # fmt: skip
    return R, t, K
