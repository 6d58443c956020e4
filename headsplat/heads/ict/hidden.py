"""Removal of triangles inside mouth and eye sockets that no pose shows."""

from itertools import product

import numpy as np
import torch

from headsplat.camera import project
from headsplat.gaussians.raster.triangles import rasterize_triangles
from headsplat.heads.calibration_views import head_to_camera
from headsplat.heads.ict import parts
from headsplat.heads.ict.mesh import Graph
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_axis_angle

SIZE = 400
DISTANCE = 0.6
YAWS = (-50.0, 0.0, 50.0)
PITCHES = (-30.0, 0.0, 30.0)
# Rings of inner triangles kept around visible ones, for other identities.
SPARE_RINGS = 2


def visible_triangles(head: HeadModel, graph: Graph) -> np.ndarray:
    """(F,) bool: all skin, and inner triangles visible with open mouth or turned eyes."""
    geometry = HeadGeometry(head)
    mouth = head.template[head.regions["lips"]].mean(0)
    seen = _seen_in_poses(_mouth_poses(geometry), head.faces, mouth, 0.12)
    eyes = np.concatenate([head.regions["left_eyeball"], head.regions["right_eyeball"]])
    seen |= _seen_in_poses(_gaze_poses(geometry), head.faces, head.template[eyes].mean(0), 0.11)
    skin = np.zeros(len(head.template), dtype=bool)
    for name in parts.SKIN:
        skin[parts.PARTS[name].vertices] = True
    near = np.zeros_like(skin)
    near[head.faces[seen]] = True
    near = graph.grow(near, SPARE_RINGS)
    return skin[head.faces].all(1) | near[head.faces].all(1)


def _mouth_poses(geometry: HeadGeometry) -> list[np.ndarray]:
    shapes = [
        (),
        ("mouthSmile_L", "mouthSmile_R", "mouthUpperUp_L", "mouthUpperUp_R"),
        ("mouthLowerDown_L", "mouthLowerDown_R", "mouthStretch_L", "mouthStretch_R"),
    ]
    return [_posed(geometry, names, jaw=angle) for names in shapes for angle in (0.0, 0.22, 0.44)]


def _gaze_poses(geometry: HeadGeometry) -> list[np.ndarray]:
    wide = ("eyeWide_L", "eyeWide_R")
    turns = [(0.0, 0.0), (0.45, 0.0), (-0.45, 0.0), (0.0, 0.6), (0.0, -0.6)]
    return [_posed(geometry, wide, gaze=turn) for turn in turns]


def _posed(
    geometry: HeadGeometry,
    names: tuple[str, ...],
    jaw: float = 0.0,
    gaze: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    model = geometry.model
    exp = torch.tensor([[float(name in names) for name in model.expression_names]])
    turns = torch.tensor([[jaw, 0.0, 0.0], [*gaze, 0.0], [*gaze, 0.0]])
    matrices = matrix_from_axis_angle(turns)
    shape = torch.zeros(model.shape_basis.shape[2])
    vertices = geometry.vertices(shape, exp, matrices[:1], matrices[None, 1:], torch.zeros(1, 2))
    return vertices[0].numpy()


def _seen_in_poses(
    poses: list[np.ndarray], faces: np.ndarray, center: np.ndarray, extent: float
) -> np.ndarray:
    """(F,) bool: triangles visible in any pixel of any view and pose.

    Args:
        poses: (V, 3) vertices each, in meters.
        faces: (F, 3).
        center: (3,) where the cameras look.
        extent: meters around `center` that the image shows.
    """
    seen = np.zeros(len(faces) + 1, dtype=bool)
    focal = SIZE * DISTANCE / extent
    intrinsics = torch.tensor([focal, focal, SIZE / 2, SIZE / 2], dtype=torch.float32)
    corners = torch.from_numpy(faces)
    for vertices, yaw, pitch in product(poses, YAWS, PITCHES):
        rotation = head_to_camera(yaw, pitch)
        offset = torch.from_numpy(center.astype(np.float32))
        translation = torch.tensor([0.0, 0.0, DISTANCE]) - rotation @ offset
        points = torch.from_numpy(vertices.astype(np.float32))[None]
        image = project(points, rotation[None], translation[None], intrinsics)
        face, _ = rasterize_triangles(image, corners, SIZE, SIZE)
        # The background, -1, indexes the spare last entry.
        seen[face.numpy()] = True
    return seen[:-1]
