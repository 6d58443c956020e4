"""Triangle rasterizer: coverage, depth order, and interpolation."""

import pytest
import torch

from headsplat.gaussians.raster.triangles import interpolate, rasterize_triangles


def _oracle(points, faces, width, height, cull=False):
    """Brute force in float64: every triangle against every pixel."""
    points = points.double()
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    best = torch.zeros(len(points), height, width)
    face = torch.full((len(points), height, width), -1)
    bary = torch.zeros(len(points), height, width, 3, dtype=torch.float64)
    for b, p in enumerate(points):
        for index, corner in enumerate(faces):
            a, c, d = (p[k] for k in corner)
            area = (c[0] - a[0]) * (d[1] - a[1]) - (c[1] - a[1]) * (d[0] - a[0])
            if area == 0 or not (p[corner, 2] > 0).all() or (cull and area > 0):
                continue
            pairs = ((c, d), (d, a), (a, c))
            edges = [(v[0] - u[0]) * (y - u[1]) - (v[1] - u[1]) * (x - u[0]) for u, v in pairs]
            weight = torch.stack(edges, -1) / area
            inside = (weight >= 0).all(-1)
            weight = weight / p[corner, 2]
            nearness = weight.sum(-1).float()
            nearer = inside & (nearness > best[b])
            best[b][nearer] = nearness[nearer]
            face[b][nearer] = index
            bary[b][nearer] = (weight / weight.sum(-1, keepdim=True))[nearer]
    return face, bary


def _scene(seed, batch=2, vertices=40, count=60):
    random = torch.Generator().manual_seed(seed)
    points = torch.rand(batch, vertices, 3, generator=random)
    points = points * torch.tensor([60.0, 50.0, 3.0]) + torch.tensor([-10.0, -10.0, -0.3])
    return points, torch.randint(vertices, (count, 3), generator=random)


@pytest.mark.parametrize("cull", [False, True])
@pytest.mark.parametrize("size", [(37, 29), (1, 1), (70, 3)])
def test_matches_brute_force(size, cull):
    points, faces = _scene(3)
    face, bary = rasterize_triangles(points, faces, *size, cull_backfaces=cull)
    expected_face, expected_bary = _oracle(points, faces, *size, cull)
    assert face.dtype == torch.int32
    assert torch.equal(face.long(), expected_face)
    torch.testing.assert_close(bary, expected_bary.float(), rtol=1e-5, atol=1e-6)


def test_shared_edges_leave_no_holes():
    random = torch.Generator().manual_seed(0)
    n = 20
    grid = torch.stack(torch.meshgrid(torch.arange(n), torch.arange(n), indexing="xy"), -1)
    points = grid * 3.0 + (torch.rand(n, n, 2, generator=random) - 0.5)
    points[[0, -1]] = grid[[0, -1]] * 3.0
    points[:, [0, -1]] = grid[:, [0, -1]] * 3.0
    index = torch.arange(n * n).reshape(n, n)
    a, b, c, d = (
        q.flatten() for q in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:])
    )
    faces = torch.cat([torch.stack([a, b, c], -1), torch.stack([b, d, c], -1)])
    points = torch.cat([points.reshape(1, -1, 2), torch.ones(1, n * n, 1)], -1)
    face, bary = rasterize_triangles(points, faces, 57, 57)
    assert (face >= 0).all()
    pixels = interpolate(face, bary, faces, points)
    rows, columns = torch.meshgrid(torch.arange(57) + 0.5, torch.arange(57) + 0.5, indexing="ij")
    torch.testing.assert_close(pixels[0, ..., 0], columns, atol=1e-4, rtol=0)
    torch.testing.assert_close(pixels[0, ..., 1], rows, atol=1e-4, rtol=0)


def test_nearest_wins_and_ties_go_to_the_lowest_face():
    corners = torch.tensor([[0.0, 0.0], [8.0, 0.0], [0.0, 8.0]])
    near, far = (torch.cat([corners, torch.full((3, 1), z)], -1) for z in (1.0, 2.0))
    points = torch.cat([far, near, near])[None]
    face, _ = rasterize_triangles(points, torch.arange(9).reshape(3, 3), 8, 8)
    assert face[0, 0, 0] == 1
    assert face[0, 7, 7] == -1


def test_barycentrics_are_perspective_correct():
    # A wall seen at a slant: the middle of its image is not the middle of the wall.
    points = torch.tensor([[[0.0, 0, 1], [10.0, 0, 4], [0.0, 10, 1]]])
    face, bary = rasterize_triangles(points, torch.tensor([[0, 1, 2]]), 10, 10)
    depth = interpolate(face, bary, torch.tensor([[0, 1, 2]]), points[..., 2:])
    x = 4.5 / 10
    assert depth[0, 0, 4, 0] == pytest.approx(1 / ((1 - x) / 1 + x / 4), rel=1e-5)


def test_nothing_and_bad_points():
    faces = torch.tensor([[0, 1, 2]])
    bad = torch.tensor([[[0.0, 0, 1], [5, 0, float("nan")], [0, 5, 1]]])
    face, bary = rasterize_triangles(bad, faces, 4, 4)
    assert (face == -1).all()
    assert (bary == 0).all()
    face, _ = rasterize_triangles(torch.zeros(2, 0, 3), torch.zeros(0, 3, dtype=torch.int64), 4, 4)
    assert face.shape == (2, 4, 4)
    with pytest.raises(IndexError, match="vertex 3 of 3"):
        rasterize_triangles(torch.ones(1, 3, 3), torch.tensor([[0, 1, 3]]), 4, 4)
    with pytest.raises(ValueError, match="points"):
        rasterize_triangles(torch.ones(3, 3), faces, 4, 4)


def test_interpolate_has_gradients_and_shared_attributes():
    points, faces = _scene(5)
    face, bary = rasterize_triangles(points, faces, 30, 20)
    shared = torch.rand(40, 4, dtype=torch.float64, requires_grad=True)
    out = interpolate(face, bary, faces, shared)
    same = interpolate(face, bary, faces, shared.expand(2, -1, -1))
    assert out.shape == (2, 20, 30, 4)
    torch.testing.assert_close(out, same)
    (gradient,) = torch.autograd.grad(out.sum(), shared)
    assert gradient.sum() == pytest.approx(4 * (face >= 0).sum().item(), rel=1e-5)
