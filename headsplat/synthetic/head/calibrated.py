"""The procedural head with MediaPipe landmarks calibrated on its own renders.

Points inside the skin vote for the surface point beneath them. Points of lids and lips vote for the
nearest point along that border, never on the eyeball or the other lip.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from headsplat.camera import project
from headsplat.gaussians.raster.triangles import interpolate, rasterize_triangles
from headsplat.heads.calibrate import (
    detect_in_views,
    detector_is_installed,
    pixel_indices,
    robust_center,
)
from headsplat.heads.calibration_views import head_to_camera, template_points
from headsplat.heads.landmarks import MEDIAPIPE_GROUPS
from headsplat.heads.model import HeadModel
from headsplat.heads.normals import area_normals
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_axis_angle
from headsplat.synthetic.head.assemble import Head, assemble
from headsplat.synthetic.head.embedding import mediapipe_embedding, mediapipe_targets
from headsplat.synthetic.head.grid import SKIN
from headsplat.synthetic.head.head import procedural_head
from headsplat.synthetic.head.texture import paint_texture

Array = np.ndarray

VIEWS = 24
SIZE = 512
CAMERA = torch.tensor([1250.0, 1250.0, SIZE / 2, SIZE / 2])
OFFSET = torch.tensor([0.0, 0.01, 0.75])
_LEAST_FOUND = 0.9
# Meters; and the inlier threshold of votes, in median distances from the median.
_LARGEST_SPREAD, _OUTLIER = 0.003, 3.5
_SAMPLES_PER_EDGE = 12


@dataclass(frozen=True)
class Drawing:
    """One image of the head.

    Attributes:
        image: (SIZE, SIZE, 3) u8 RGB.
        face: (SIZE, SIZE) triangle under each pixel, -1 beside the head.
        barycentric: (SIZE, SIZE, 3) weights of its corners.
        facing: (SIZE, SIZE) cosine between normal and view axis.
        vertices: (V, 2) pixels.
    """

    image: Array
    face: Array
    barycentric: Array
    facing: Array
    vertices: Array


@dataclass(frozen=True)
class _DetectedView:
    """One image of the head: detected landmarks and the rendered geometry."""

    found: Array  # (478, 2) pixels
    vertices: Array  # (V, 2) pixels
    place: Array  # (478, 3) meters at rest of the skin under each found point, or NaN


def build_procedural_head(path: Path) -> None:
    """Write the head to `path`, with MediaPipe's landmarks where the detector finds them."""
    model, head = procedural_head(), assemble()
    targets = mediapipe_targets(head)
    if detector_is_installed(model.name):
        targets |= calibrated_targets(model, head)
    landmarks = {**model.landmarks, "mediapipe": mediapipe_embedding(head, targets)}
    replace(model, landmarks=landmarks).save(path)


def calibrated_targets(model: HeadModel, head: Head) -> dict[int, Array]:
    """MediaPipe index -> (3,) place at rest in the millimeters of `head`.

    Raises:
        UserError: the detector finds the face in too few of the images.
    """
    skin = _skin(head)
    sights = detect_in_views(
        model.name,
        _draw_views(model),
        lambda drawing, found: _sight(model, skin, drawing, found),
        _LEAST_FOUND,
    )
    shift = head.anatomy.points[0] - 1000 * model.template[0].astype(np.float64)
    places = _inner_places(np.stack([s.place for s in sights])) | _border_places(
        model, head, sights
    )
    return {index: 1000 * place + shift for index, place in places.items()}


def _views() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Poses and rotations, spread evenly by steps of the five-dimensional golden ratio."""
    step = 1 / 1.1347241 ** torch.arange(1, 6, dtype=torch.float64)
    share = torch.remainder(0.5 + step * torch.arange(1, VIEWS + 1)[:, None], 1).float()
    rotations = torch.stack([head_to_camera(50 * s[0] - 25, 20 * s[1] - 10) for s in share])
    jaw, lids = (0.25 * share[:, 2] - 0.1).clamp_min(0), (share[:, 3] - 0.4).clamp_min(0)
    zero = torch.zeros_like(jaw)
    pose = {
        "jaw": matrix_from_axis_angle(torch.stack([jaw, zero, zero], 1)),
        "eyes": torch.eye(3).expand(VIEWS, 2, 3, 3),
        "eyelids": lids[:, None].expand(VIEWS, 2),
        "smile": (share[:, 4] - 0.4).clamp_min(0),
    }
    return pose, rotations


def _draw_views(model: HeadModel) -> Iterator[Drawing]:
    pose, rotations = _views()
    exp = torch.zeros(VIEWS, len(model.expression_names))
    smile = [model.expression_names.index(f"mouthSmile_{side}") for side in "LR"]
    exp[:, smile] = pose.pop("smile")[:, None]
    geometry = HeadGeometry(model)
    vertices = geometry.vertices(torch.zeros(model.shape_basis.shape[2]), exp, **pose)
    texture = torch.from_numpy(paint_texture(1024)).permute(2, 0, 1)[None]
    for posed, rotation in zip(vertices, rotations, strict=True):
        yield draw(model, posed, rotation, texture)


def _skin(head: Head) -> Array:
    """(F,) bool: triangles of the skin outside lids and lips."""
    anatomy = head.anatomy
    rings = anatomy.mouth_ring[head.faces].max(1), anatomy.eye_ring[head.faces].max(1)
    return (head.face_part == SKIN) & (rings[0] <= 2) & (rings[1] <= 1)


def _sight(model: HeadModel, skin: Array, drawing: Drawing, found: Array) -> _DetectedView:
    row, column = pixel_indices(found, SIZE)
    under = drawing.face[row, column]
    place = template_points(model, under.clip(0), drawing.barycentric[row, column])
    facing = drawing.facing[row, column]
    place[(under < 0) | ~skin[under.clip(0)] | (facing < 0.35)] = np.nan
    return _DetectedView(found, drawing.vertices, place)


def draw(
    model: HeadModel, vertices: torch.Tensor, rotation: torch.Tensor, texture: torch.Tensor
) -> Drawing:
    """Render the head under soft light at twice the size, and downsample.

    Args:
        model: the head.
        vertices: (V, 3) posed, meters.
        rotation: (3, 3) head to camera.
        texture: (1, 3, size, size) sRGB in the atlas.
    """
    fine = 2
    points = project(vertices[None], rotation[None], OFFSET[None], CAMERA * fine)
    faces, side = torch.from_numpy(model.faces).long(), SIZE * fine
    face, bary = rasterize_triangles(points, faces, side, side)
    normals = area_normals(vertices, faces) @ rotation.T
    normal = interpolate(face, bary, faces, normals)[0]
    normal = torch.nn.functional.normalize(normal, dim=-1)
    uv = interpolate(face, bary, torch.from_numpy(model.uv_faces), torch.from_numpy(model.uv))
    grid = torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], -1)
    color = torch.nn.functional.grid_sample(texture, grid, align_corners=False)[0]
    light = torch.nn.functional.normalize(torch.tensor([-0.35, -0.45, -0.8]), dim=0)
    shaded = color.permute(1, 2, 0) * (0.38 + 0.6 * (normal @ light).clamp_min(0))[..., None]
    shaded = torch.where((face[0] >= 0)[..., None], shaded, torch.tensor(0.6))
    small = torch.nn.functional.avg_pool2d(shaded.permute(2, 0, 1)[None], fine)[0]
    image = (small.permute(1, 2, 0).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    middle = slice(None, None, fine)
    return Drawing(
        image=image,
        face=face[0, middle, middle].numpy(),
        barycentric=bary[0, middle, middle].numpy(),
        facing=-normal[middle, middle, 2].numpy(),
        vertices=points[0, :, :2].numpy() / fine,
    )


def _inner_places(votes: Array) -> dict[int, Array]:
    """Places of points inside the skin: (views, 478, 3) votes with NaN -> index -> (3,)."""
    border = {i for name in ("left_eye", "right_eye", "lips_outer", "lips_inner")
              for i in MEDIAPIPE_GROUPS[name]}  # fmt: skip
    places = {}
    for index in sorted(set(range(468)) - border):
        seen = votes[np.isfinite(votes[:, index, 0]), index]
        if len(seen) < 0.5 * len(votes):
            continue
        center, spread = robust_center(seen, _OUTLIER)
        if spread < _LARGEST_SPREAD:
            places[index] = center
    return places


def _border_places(model: HeadModel, head: Head, sights: list[_DetectedView]) -> dict[int, Array]:
    """Places of the points of lids and lips along their borders."""
    anatomy, places = head.anatomy, {}
    left = anatomy.points[:, 0] > 0
    lines = (
        ("left_eye", np.isclose(anatomy.eye_ring, 1.0) & left, anatomy.eye_upper),
        ("right_eye", np.isclose(anatomy.eye_ring, 1.0) & ~left, anatomy.eye_upper),
        ("lips_outer", np.isclose(anatomy.mouth_ring, 1.0), anatomy.mouth_upper),
        ("lips_inner", np.isclose(anatomy.mouth_ring, 2.0), anatomy.mouth_upper),
    )
    for name, ring, upper in lines:
        group = MEDIAPIPE_GROUPS[name]
        half = len(group) // 2
        for sign, indices in ((-1, group[: half + 1]), (1, group[half + 1 :])):
            ids = np.flatnonzero(ring & (upper * sign > -1e-6))
            ids = ids[np.argsort(anatomy.points[ids, 0])]
            share = np.linspace(0, len(ids) - 1, _SAMPLES_PER_EDGE * (len(ids) - 1) + 1)
            first = np.minimum(share.astype(int), len(ids) - 2)
            weight = (share - first)[:, None]

            def along(values: Array, ids=ids, first=first, weight=weight) -> Array:
                return (1 - weight) * values[ids[first]] + weight * values[ids[first + 1]]

            votes = []
            for sight in sights:
                gap = along(sight.vertices)[:, None] - sight.found[list(indices)]
                votes.append((gap**2).sum(2).argmin(0))
            chosen = np.median(np.stack(votes), 0).astype(int)
            places |= dict(zip(indices, along(model.template)[chosen], strict=True))
    return places
