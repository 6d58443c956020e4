"""Anchors: FlashAvatar's exact texel set, even sampling, frames that follow the surface."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from headsplat.gaussians.anchors import (
    AnchoredSurface,
    Anchors,
    faces_inside,
    rasterize_uv,
    sample_anchors,
    texel_anchors,
)
from headsplat.heads.unpickle import load_pickle
from headsplat.heads.wavefront import read_textured_mesh
from headsplat.rotations import matrix_from_axis_angle, matrix_from_quaternion
from headsplat.train.initialize import mean_square_distance, nearest
from tests.unit.sphere_head import RADIUS, sphere_head


@pytest.fixture(scope="module")
def flame(shared):
    """FLAME's topology, atlas and regions; the shapes do not matter here."""
    folder = shared / "assets/flame_public"
    mesh = read_textured_mesh(folder / "FlameMesh.obj")
    masks = load_pickle(folder / "FLAME_masks.pkl")
    regions = {name: np.asarray(ids, dtype=np.int32) for name, ids in masks.items()}
    head = sphere_head()
    template = np.zeros((5023, 3), dtype=np.float32)
    return replace(
        head, template=template, faces=mesh.faces, uv=mesh.uv, uv_faces=mesh.uv_faces,
        regions=regions,
    )  # fmt: skip


def test_flame_texels_are_flashavatars(flame):
    face, _ = rasterize_uv(flame.uv, flame.uv_faces, 128)
    assert len(face) == 14_876
    assert face.sum() == 75_611_248
    anchors = texel_anchors(flame, 128)
    assert len(anchors) == 13_453
    assert anchors.face.sum() == 67_653_178
    digest = hashlib.sha1(anchors.face.astype("<i4").tobytes()).hexdigest()
    assert digest == "9095de85b8289d7cc23e5406fd17c386e21d49dc"
    assert (anchors.face[0], anchors.face[-1]) == (4703, 3033)
    np.testing.assert_allclose(anchors.barycentric[0], [0.72283, 0.16417, 0.11298], atol=5e-5)


@pytest.mark.parametrize(("size", "count"), [(64, 3348), (96, 7569)])
def test_flame_texels_at_other_sizes(flame, size, count):
    assert len(texel_anchors(flame, size)) == count


def test_texels_reproduce_their_own_uv():
    head = sphere_head()
    face, weights = rasterize_uv(head.uv, head.uv_faces, 32)
    points = np.einsum("nk,nkc->nc", weights, head.uv[head.uv_faces[face]])
    row = np.round((1 - points[:, 1]) * 32 - 0.5)
    column = np.round(points[:, 0] * 32 - 0.5)
    np.testing.assert_allclose(points[:, 0], (column + 0.5) / 32, atol=1e-5)
    np.testing.assert_allclose(points[:, 1], 1 - (row + 0.5) / 32, atol=1e-5)
    order = row * 32 + column
    assert (np.diff(order) > 0).all(), "row-major, each texel once"


def test_samples_follow_area_density_and_visibility():
    head = sphere_head()
    anchors = sample_anchors(head, head.template, 4000, density={}, shells=())
    assert len(anchors) == 4000
    assert anchors.barycentric.min() >= 0
    np.testing.assert_allclose(anchors.barycentric.sum(1), 1, atol=1e-6)
    lips = faces_inside(head, "lips")
    share = lips[anchors.face].mean()
    dense = sample_anchors(head, head.template, 4000, density={"lips": 3.0}, shells=())
    more = lips[dense.face].mean()
    assert more == pytest.approx(3 * share / (1 + 2 * share), rel=0.05)
    front = (head.template[head.faces].mean(1)[:, 2] > 0).astype(float)
    seen = sample_anchors(head, head.template, 4000, visibility=front, density={}, shells=())
    assert front[seen.face].all()
    again = sample_anchors(head, head.template, 4000, density={}, shells=())
    np.testing.assert_array_equal(anchors.face, again.face)


def test_shells_stand_off_the_scalp():
    head = sphere_head()
    anchors = sample_anchors(head, head.template, 3000, density={}, shells=((0.02, 0.5),))
    above = anchors.height > 0
    assert above.any()
    assert faces_inside(head, "scalp")[anchors.face[above]].all()
    surface = AnchoredSurface(anchors, head, "cpu")
    positions, _ = surface.place(torch.from_numpy(head.template)[None, surface.vertex_ids])
    radius = positions[0].norm(dim=-1)
    assert (radius[torch.from_numpy(above)] > RADIUS + 0.012).all()
    assert (radius[torch.from_numpy(~above)] < RADIUS + 1e-6).all()


def test_frames_turn_with_the_surface():
    head = sphere_head()
    anchors = sample_anchors(head, head.template, 500)
    surface = AnchoredSurface(anchors, head, "cpu")
    rest = torch.from_numpy(head.template)[surface.vertex_ids]
    turn = matrix_from_axis_angle(torch.tensor([0.3, -0.8, 0.5]))
    positions, rotations = surface.place(torch.stack([rest, rest @ turn.T]))
    torch.testing.assert_close(positions[1], positions[0] @ turn.T, atol=1e-6, rtol=0)
    before, after = matrix_from_quaternion(rotations)
    torch.testing.assert_close(after, turn @ before, atol=1e-5, rtol=0)
    normal = before[..., 2]
    outward = torch.nn.functional.normalize(positions[0], dim=-1)
    assert ((normal * outward).sum(-1) > 0.9).all()
    with pytest.raises(ValueError, match="vertices: expected shape"):
        surface.place(rest[None, :-1])


def test_collapsed_triangle_has_a_frame():
    head = sphere_head()
    anchors = Anchors(
        np.array([5], np.int32), np.full((1, 3), 1 / 3, np.float32), np.zeros(1, np.float32)
    )
    surface = AnchoredSurface(anchors, head, "cpu")
    positions, rotations = surface.place(torch.ones(1, 3, 3))
    torch.testing.assert_close(rotations[0, 0], torch.tensor([1.0, 0, 0, 0]))
    assert torch.isfinite(positions).all()


def test_neighbors_are_exact():
    points = torch.rand(300, 3, generator=torch.Generator().manual_seed(0))
    full = (points[:, None] - points[None]).square().sum(-1)
    expected = full.sort(1).values[:, 1:4].mean(1)
    torch.testing.assert_close(mean_square_distance(points), expected)
    distance, index = nearest(points, points[:7] + 1e-4, 1)
    assert index[:, 0].tolist() == list(range(7))
    assert distance.max() < 1e-6
