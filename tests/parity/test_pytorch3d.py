"""Rotations, cameras and the mesh rasterizer against PyTorch3D itself."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from headsplat.camera import project, vector_from_matrix
from headsplat.formats.frame import opencv_camera, p3d_camera
from headsplat.gaussians.anchors import rasterize_uv
from headsplat.gaussians.raster.triangles import rasterize_triangles
from headsplat.heads.wavefront import read_textured_mesh
from headsplat.rotations import (
    axis_angle_from_matrix,
    matrix_from_6d,
    matrix_from_axis_angle,
    matrix_from_quaternion,
    matrix_to_6d,
)
from tests.unit.sphere_head import sphere_head

NEEDS = {"reason": "needs pytorch3d: see envs/parity.yaml", "exc_type": ModuleNotFoundError}
pytest.importorskip("pytorch3d._C", **NEEDS)
mesh_renderer = pytest.importorskip("pytorch3d.renderer.mesh.rasterize_meshes", **NEEDS)
renderer = pytest.importorskip("pytorch3d.renderer", **NEEDS)
structures = pytest.importorskip("pytorch3d.structures", **NEEDS)
transforms = pytest.importorskip("pytorch3d.transforms", **NEEDS)
conversions = pytest.importorskip("pytorch3d.utils", **NEEDS)

BARYCENTRIC = 1e-4  # both compute in float32
SIZES = [(512, 512), (540, 960), (960, 540)]


def random_rotations(count: int) -> Tensor:
    random = torch.Generator().manual_seed(0)
    return matrix_from_quaternion(torch.randn(count, 4, generator=random, dtype=torch.float64))


def test_6d_rows_both_ways():
    rotations = random_rotations(10_000)
    six = transforms.matrix_to_rotation_6d(rotations)
    torch.testing.assert_close(matrix_to_6d(rotations), six, rtol=0, atol=0)
    torch.testing.assert_close(matrix_from_6d(six), rotations, rtol=0, atol=1e-12)
    # What a network or an optimizer gives is no rotation yet.
    loose = torch.randn(10_000, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(
        matrix_from_6d(loose), transforms.rotation_6d_to_matrix(loose), rtol=0, atol=1e-10
    )
    turned = transforms.axis_angle_to_matrix(torch.tensor([0.3, 0.0, 0.0], dtype=torch.float64))
    expected = [1, 0, 0, 0, math.cos(0.3), -math.sin(0.3)]
    assert matrix_to_6d(turned).tolist() == pytest.approx(expected, abs=1e-15)
    columns = turned[:, :2].T.reshape(6)
    torch.testing.assert_close(transforms.rotation_6d_to_matrix(columns), turned.T)


@pytest.mark.parametrize("scale", [1e-9, 1e-4, 1.0, math.pi - 1e-3])
def test_axis_angle_both_ways(scale):
    random = torch.Generator().manual_seed(2)
    vectors = torch.randn(2000, 3, generator=random, dtype=torch.float64)
    vectors = vectors / vectors.norm(dim=-1, keepdim=True) * scale
    matrices = transforms.axis_angle_to_matrix(vectors)
    torch.testing.assert_close(matrix_from_axis_angle(vectors), matrices, rtol=0, atol=1e-12)
    theirs = transforms.matrix_to_axis_angle(matrices)
    # PyTorch3D gives angles up to 2 pi; ours are the short way round.
    angle = theirs.norm(dim=-1, keepdim=True)
    theirs = torch.where(angle > math.pi, theirs * (1 - 2 * math.pi / angle), theirs)
    torch.testing.assert_close(axis_angle_from_matrix(matrices), theirs, rtol=0, atol=1e-9)


def some_camera(size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """World to camera R and t, and a K with the principal point well off the middle."""
    height, width = size
    turn = matrix_from_axis_angle(torch.tensor([0.3, -0.5, 0.2], dtype=torch.float64)).numpy()
    matrix = np.array([[1500.0, 0, width / 2 + 31], [0, 1500.0, height / 2 - 19], [0, 0, 1]])
    return np.diag([1.0, -1.0, -1.0]) @ turn, np.array([0.03, -0.02, 0.8]), matrix


def p3d_from_frame(camera: dict[str, np.ndarray], size: tuple[int, int]):
    """PerspectiveCameras as metrical-tracker makes them from a `.frame`'s camera block."""
    return renderer.PerspectiveCameras(
        R=transforms.rotation_6d_to_matrix(torch.from_numpy(camera["R"])),
        T=torch.from_numpy(camera["t"]),
        focal_length=torch.from_numpy(camera["fl"]),
        principal_point=torch.from_numpy(camera["pp"]),
        image_size=torch.tensor([size]),
    )


def p3d_from_opencv(R: np.ndarray, t: np.ndarray, K: np.ndarray, size: tuple[int, int]):
    arrays = (torch.from_numpy(value)[None].float() for value in (R, t, K))
    return conversions.cameras_from_opencv_projection(*arrays, torch.tensor([size]))


@pytest.mark.parametrize("size", SIZES)
def test_frame_cameras_are_pytorch3ds(size):
    R, t, K = some_camera(size)
    camera = p3d_camera(R, t, K, size)
    theirs = p3d_from_opencv(R, t, K, size)
    ours = p3d_from_frame(camera, size)
    for name in ("R", "T", "principal_point"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), msg=name)
    torch.testing.assert_close(ours.focal_length.expand(1, 2), theirs.focal_length)


@pytest.mark.parametrize("size", SIZES)
def test_frame_cameras_project_as_opencv(size):
    R, t, K = some_camera(size)
    points = np.random.default_rng(0).uniform(-0.12, 0.12, (500, 3))
    seen = (points @ R.T + t) @ K.T
    expected = torch.from_numpy(seen[:, :2] / seen[:, 2:])
    cameras = p3d_from_frame(p3d_camera(R, t, K, size), size)
    screen = cameras.transform_points_screen(torch.from_numpy(points)[None].float())[0, :, :2]
    torch.testing.assert_close(screen.double(), expected, rtol=0, atol=5e-3)


@pytest.mark.parametrize("size", SIZES)
def test_opencv_cameras_are_pytorch3ds_to_the_last_digits(size):
    random = np.random.default_rng(1)
    rotation = random_rotations(1)
    camera = {
        "R": matrix_to_6d(rotation).numpy(),
        "t": random.normal(size=(1, 3)),
        "fl": random.uniform(4, 12, (1, 1)),
        "pp": random.normal(size=(1, 2)) * 0.1,
    }
    cameras = p3d_from_frame(camera, size)
    theirs = conversions.opencv_from_cameras_projection(cameras, torch.tensor([size]))
    for ours, their in zip(opencv_camera(camera, size), theirs, strict=True):
        np.testing.assert_allclose(ours, their[0].numpy(), rtol=1e-12, atol=1e-12)


def edge_distance(points: Tensor, faces: Tensor, width: int, height: int) -> Tensor:
    """(height, width): from each pixel's center to the nearest edge of any face, in pixels."""
    rows, columns = torch.meshgrid(
        torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij"
    )
    centers = torch.stack([columns, rows], -1).double().reshape(-1, 1, 2)
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    start, end = points[edges, :2].double().unbind(1)
    along = end - start
    part = ((centers - start) * along).sum(-1) / (along * along).sum(-1).clamp_min(1e-12)
    nearest = start + part.clamp(0, 1)[..., None] * along
    return (centers - nearest).norm(dim=-1).amin(1).reshape(height, width)


def whole(bary: Tensor) -> Tensor:
    """Barycentrics that sum to 1: PyTorch3D adds 1e-8 to the area that it divides by."""
    return bary / bary.sum(-1, keepdim=True)


def assert_same_image(
    ours: tuple[Tensor, Tensor], fragments: tuple[Tensor, Tensor, Tensor], far: Tensor, count: int
) -> None:
    """Equal faces and barycentrics wherever both rasterizers are sure of the face.

    Args:
        ours: face (B, H, W) and barycentrics (B, H, W, 3).
        fragments: PyTorch3D's faces, depths and barycentrics, two layers deep.
        far: (B, H, W) pixels that lie off every edge.
        count: faces of one mesh; PyTorch3D numbers those of a batch on.
    """
    face, bary = ours
    theirs, depth, _ = fragments
    their_bary = whole(fragments[2][..., 0, :])
    first = torch.arange(len(face))[:, None, None] * count
    theirs_face = torch.where(theirs[..., 0] >= 0, theirs[..., 0] - first, theirs[..., 0])
    alone = (theirs[..., 1] < 0) | (depth[..., 1] - depth[..., 0] > 1e-4)
    sure = far & alone
    assert sure.float().mean() > 0.8
    assert (sure & (face >= 0)).float().mean() > 0.2
    assert torch.equal(face[sure].long(), theirs_face[sure])
    shown = sure & (face >= 0)
    torch.testing.assert_close(bary[shown], their_bary[shown], rtol=0, atol=BARYCENTRIC)


@pytest.mark.parametrize("cull", [False, True])
@pytest.mark.parametrize("size", [(48, 48), (36, 64), (64, 36)])
def test_random_triangles_rasterize_as_pytorch3ds(size, cull):
    height, width = size
    random = torch.Generator().manual_seed(7)
    centers = torch.rand(2, 60, 1, 3, generator=random)
    corners = centers * torch.tensor([width, height, 3.0]) + torch.tensor([0.0, 0.0, 1.0])
    spread = torch.rand(2, 60, 3, 3, generator=random) - 0.5
    points = (corners + spread * torch.tensor([24.0, 24.0, 0.8])).reshape(2, 180, 3)
    faces = torch.arange(180).reshape(60, 3)

    half = min(size) / 2
    middle = torch.tensor([width / 2, height / 2])
    ndc = torch.cat([(middle - points[..., :2]) / half, points[..., 2:]], -1)
    fragments = mesh_renderer.rasterize_meshes(
        structures.Meshes(list(ndc), [faces, faces]),
        image_size=size,
        faces_per_pixel=2,
        perspective_correct=True,
        cull_backfaces=cull,
    )
    far = torch.stack([edge_distance(p, faces, width, height) > 0.01 for p in points])
    ours = rasterize_triangles(points, faces, width, height, cull_backfaces=cull)
    assert_same_image(ours, fragments[:3], far, len(faces))


@pytest.mark.parametrize("size", [(96, 96), (60, 100)])
def test_a_head_before_a_camera_rasterizes_as_pytorch3ds(size):
    head = sphere_head()
    height, width = size
    R, t, K = some_camera(size)
    K[[0, 1], [0, 1]] = 3.6 * min(size)
    K[:2, 2] = width / 2 + 7, height / 2 - 4
    vertices = torch.from_numpy(head.template)[None]
    faces = torch.from_numpy(head.faces).long()
    rotation, shift, matrix = (torch.from_numpy(value)[None].float() for value in (R, t, K))
    points = project(vertices, rotation, shift, vector_from_matrix(matrix))

    settings = renderer.RasterizationSettings(
        image_size=size, faces_per_pixel=2, perspective_correct=True
    )
    rasterizer = renderer.MeshRasterizer(p3d_from_opencv(R, t, K, size), settings)
    found = rasterizer(structures.Meshes(list(vertices), [faces]))
    far = edge_distance(points[0], faces, width, height)[None] > 0.01
    ours = rasterize_triangles(points, faces, width, height)
    assert_same_image(ours, (found.pix_to_face, found.zbuf, found.bary_coords), far, len(faces))


def uv_texels(uv: np.ndarray, uv_faces: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Face and barycentrics of each texel that PyTorch3D covers when it draws the atlas flat."""
    across = torch.from_numpy(np.asarray(uv, np.float32)) * 2 - 1
    flat = torch.stack([-across[:, 0], across[:, 1], torch.ones(len(uv))], -1)
    face, _, bary, _ = mesh_renderer.rasterize_meshes(
        structures.Meshes([flat], [torch.from_numpy(uv_faces).long()]),
        image_size=size,
        faces_per_pixel=1,
    )
    covered = face[0, ..., 0] >= 0
    return face[0, ..., 0][covered].numpy(), whole(bary[0, :, :, 0][covered]).numpy()


def test_an_atlas_covers_pytorch3ds_texels():
    head = sphere_head()
    theirs = uv_texels(head.uv, head.uv_faces, 61)
    ours = rasterize_uv(head.uv, head.uv_faces, 61)
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_allclose(ours[1], theirs[1], atol=BARYCENTRIC)


def test_flames_atlas_covers_pytorch3ds_texels(shared):
    mesh = read_textured_mesh(shared / "assets/flame_public/FlameMesh.obj")
    theirs = uv_texels(mesh.uv, mesh.uv_faces, 128)
    ours = rasterize_uv(mesh.uv, mesh.uv_faces, 128)
    assert len(theirs[0]) == 14_876
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_allclose(ours[1], theirs[1], atol=BARYCENTRIC)
