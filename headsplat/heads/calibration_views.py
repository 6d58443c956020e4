"""Rendered views of a head model for landmark calibration, with per-pixel surface labels."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

from headsplat.camera import project
from headsplat.gaussians.raster.triangles import interpolate, rasterize_triangles
from headsplat.heads.model import HeadModel
from headsplat.heads.normals import vertex_normals
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_axis_angle

SIZE = 512
# (yaw, pitch) in degrees, denser near frontal.
TURNS = (
    (0, 0), (-15, 0), (15, 0), (-30, 0), (30, 0), (-15, -15), (15, -15), (-15, 15), (15, 15),
)  # fmt: skip
DISTANCE = 0.8
BACKGROUND = (0.55, 0.6, 0.65)
SMILE = ("mouthSmile_L", "mouthSmile_R", "cheekSquint_L", "cheekSquint_R")
MOUTH_OPEN, LIDS_HALF, SMILING = 0.22, 0.45, 0.6


class ViewLabels:
    """Labels of surface parts."""

    NOTHING, SKIN, UPPER_LIP, LOWER_LIP, LEFT_EYE, RIGHT_EYE, MOUTH = range(-1, 6)
    LIPS = (UPPER_LIP, LOWER_LIP)
    EYES = (LEFT_EYE, RIGHT_EYE)

    @classmethod
    def of_faces(cls, head: HeadModel) -> np.ndarray:
        """(F,) label of each triangle; a lip is lower if it follows the jaw."""
        faces = head.faces

        def within(*names: str) -> np.ndarray:
            mask = np.zeros(len(head.template), dtype=bool)
            for name in names:
                mask[head.regions.get(name, np.zeros(0, dtype=np.int32))] = True
            return mask[faces].all(1)

        labels = np.full(len(faces), cls.SKIN)
        lips = within("lips")
        lower = head.skinning[faces, 2].mean(1) > 0.5
        labels[lips] = np.where(lower, cls.LOWER_LIP, cls.UPPER_LIP)[lips]
        labels[within("teeth", "mouth_interior") & ~lips] = cls.MOUTH
        labels[within("left_eyeball")] = cls.LEFT_EYE
        labels[within("right_eyeball")] = cls.RIGHT_EYE
        return labels


@dataclass(frozen=True)
class View:
    """One rendered view with its surface maps.

    Attributes:
        image: (H, W, 3) u8 RGB.
        face: (H, W) i32 triangle under each pixel's center, -1 for the background.
        barycentric: (H, W, 3) f32 on the surface.
        eye_face: (H, W) i32 triangle of an eyeball, ignoring lids, or -1.
        eye_barycentric: (H, W, 3) f32 on it.
        labels: (H, W) of `ViewLabels`.
        facing: (H, W) f32 cosine between the surface's normal and the direction to the camera.
        rotation: (3, 3) head to camera.
        translation: (3,) meters.
        intrinsics: (4,) fx, fy, cx, cy in pixels.
    """

    image: np.ndarray
    face: np.ndarray
    barycentric: np.ndarray
    eye_face: np.ndarray
    eye_barycentric: np.ndarray
    labels: np.ndarray
    facing: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    intrinsics: np.ndarray


def template_points(head: HeadModel, face: np.ndarray, barycentric: np.ndarray) -> np.ndarray:
    """(n,) triangles and (n, 3) weights on a posed head -> (n, 3) the same points at rest."""
    return (head.template[head.faces[face]] * barycentric[:, :, None]).sum(1)


def head_to_camera(yaw: float, pitch: float) -> torch.Tensor:
    """Rotation (3, 3) from the head to an OpenCV camera in front of it, from degrees.

    Positive yaw turns the face to the subject's left, positive pitch down.
    """
    angles = torch.deg2rad(torch.tensor([[0.0, float(yaw), 0.0], [float(pitch), 0.0, 0.0]]))
    around, over = matrix_from_axis_angle(angles)
    return torch.diag(torch.tensor([1.0, -1.0, -1.0])) @ over @ around


def render_views(head: HeadModel) -> Iterator[View]:
    """Render neutral, open mouth, half closed eyes and smile, each from `TURNS`."""
    geometry = HeadGeometry(head)
    poses = _poses(head)
    vertices = geometry.vertices(torch.zeros(head.shape_basis.shape[2]), **poses)
    labels = ViewLabels.of_faces(head)
    center = torch.from_numpy(head.template[head.regions["face"]].mean(0))
    for posed, (yaw, pitch) in product(vertices, TURNS):
        yield _render(head, labels, posed, head_to_camera(yaw, pitch), center)


def _poses(head: HeadModel) -> dict[str, torch.Tensor]:
    exp = torch.zeros(4, head.expression_basis.shape[2])
    for column, name in enumerate(head.expression_names):
        if name in SMILE:
            exp[3, column] = SMILING
    jaw = torch.zeros(4, 3)
    jaw[1, 0] = MOUTH_OPEN
    eyelids = torch.zeros(4, 2)
    eyelids[2] = LIDS_HALF
    return {
        "exp": exp,
        "jaw": matrix_from_axis_angle(jaw),
        "eyes": torch.eye(3).expand(4, 2, 3, 3),
        "eyelids": eyelids,
    }


def _render(
    head: HeadModel,
    labels: np.ndarray,
    vertices: torch.Tensor,
    rotation: torch.Tensor,
    center: torch.Tensor,
) -> View:
    # The face, about 0.2 m high, fills 55 % of the image.
    focal = 0.55 * SIZE * DISTANCE / 0.2
    intrinsics = torch.tensor([focal, focal, SIZE / 2, SIZE / 2])
    translation = torch.tensor([0.0, 0.0, DISTANCE]) - rotation @ center
    points = project(vertices[None], rotation[None], translation[None], intrinsics)
    faces = torch.from_numpy(head.faces).long()
    face, bary = rasterize_triangles(points, faces, SIZE, SIZE)
    eyes = np.flatnonzero(np.isin(labels, ViewLabels.EYES))
    eye_face, eye_bary = rasterize_triangles(points, faces[eyes], SIZE, SIZE)
    eye_number = eye_face[0].numpy()
    normals = vertex_normals(vertices, faces) @ rotation.T
    position = vertices @ rotation.T + translation
    attributes = torch.cat([torch.from_numpy(head.albedo), normals, position], 1)
    pixels = interpolate(face, bary, faces, attributes)[0]
    albedo, normal, position = pixels.split(3, -1)
    normal = torch.nn.functional.normalize(normal, dim=-1)
    facing = -(normal * torch.nn.functional.normalize(position, dim=-1)).sum(-1)
    # Light from above and ahead, because light from one side biases the landmarks.
    light = torch.nn.functional.normalize(torch.tensor([0.0, -0.5, -0.8]), dim=0)
    shading = 0.55 + 0.35 * (normal @ light).clamp_min(0) + 0.1 * facing.clamp_min(0)
    seen = face[0] >= 0
    image = torch.where(seen[..., None], albedo * shading[..., None], torch.tensor(BACKGROUND))
    number = face[0].numpy()
    return View(
        image=(image.clamp(0, 1) * 255).round().to(torch.uint8).numpy(),
        face=number,
        barycentric=bary[0].numpy(),
        eye_face=np.where(eye_number >= 0, eyes[eye_number], -1),
        eye_barycentric=eye_bary[0].numpy(),
        labels=np.where(number >= 0, labels[number.clip(0)], ViewLabels.NOTHING),
        facing=facing.numpy(),
        rotation=rotation.numpy(),
        translation=translation.numpy(),
        intrinsics=intrinsics.numpy(),
    )
