"""The procedural head: anatomical motion, and a valid mesh and atlas."""

import numpy as np
import pytest
import torch

from headsplat.gaussians.raster.triangles import rasterize_triangles
from headsplat.heads.landmarks import MEDIAPIPE_GROUPS, compact, contour_points, points
from headsplat.heads.model import REQUIRED_REGIONS, HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_axis_angle
from headsplat.synthetic.head.assemble import assemble
from headsplat.synthetic.head.head import procedural_head
from headsplat.synthetic.head.paint import Person
from headsplat.synthetic.head.texture import paint_texture


@pytest.fixture(scope="module")
def model() -> HeadModel:
    return procedural_head()


@pytest.fixture(scope="module")
def geometry(model) -> HeadGeometry:
    return HeadGeometry(model)


def posed(geometry, shape=None, exp=None, jaw=0.0, eyes=(0.0, 0.0), lids=(0.0, 0.0)):
    model = geometry.model
    coefficients = torch.zeros(1, model.expression_basis.shape[2])
    for name, value in (exp or {}).items():
        coefficients[0, model.expression_names.index(name)] = value
    shape = torch.zeros(model.shape_basis.shape[2]) if shape is None else shape
    turn = matrix_from_axis_angle(torch.tensor([[eyes[0], eyes[1], 0.0]]))
    return geometry.vertices(
        shape,
        coefficients,
        matrix_from_axis_angle(torch.tensor([[jaw, 0.0, 0.0]])),
        turn[:, None].expand(1, 2, 3, 3),
        torch.tensor([lids]),
    )


def landmark(vertices, model, *wanted):
    found = model.landmarks["mediapipe"]
    rows = [list(found.index).index(i) for i in wanted]
    return points(vertices, found)[0, rows].numpy()


def test_head_is_valid_and_deterministic(model, tmp_path):
    model.save(tmp_path / "head.npz")
    again = HeadModel.load(tmp_path / "head.npz")
    assemble.cache_clear()
    other = procedural_head()
    for key in ("template", "shape_basis", "expression_basis", "skinning", "uv", "albedo"):
        np.testing.assert_array_equal(getattr(again, key), getattr(other, key))
    assert 4000 <= len(model.template) <= 8000
    assert model.shape_basis.shape[2] >= 20
    assert len(model.expression_names) >= 30
    assert model.licence == "MIT"
    width, height, depth = np.ptp(model.template, axis=0)
    assert 0.14 < width < 0.20
    assert 0.25 < height < 0.36
    assert 0.18 < depth < 0.25


def test_regions_are_disjoint_where_they_must_be(model):
    regions = {name: set(ids.tolist()) for name, ids in model.regions.items()}
    assert all(regions[name] for name in REQUIRED_REGIONS)
    apart = ["face", "scalp", "neck", "left_eyeball", "right_eyeball", "teeth", "tongue"]
    for k, first in enumerate(apart):
        for second in apart[k + 1 :]:
            assert not regions[first] & regions[second], (first, second)
    for part in ("lips", "nose", "eye_region", "brows"):
        assert len(regions[part] & regions["face"]) > 0.9 * len(regions[part]), part
    assert regions["boundary"] <= regions["neck"] | regions["scalp"]
    assert model.template[model.regions["left_eyeball"], 0].min() > 0
    assert model.template[model.regions["right_eyeball"], 0].max() < 0


def test_joint_positions_are_anatomical(model, geometry):
    shape, exp = torch.zeros(1, model.shape_basis.shape[2]), torch.zeros(1, 39)
    root, neck, jaw, left, right = geometry.joints(shape, exp)[0].numpy()
    ball = model.template[model.regions["left_eyeball"]]
    np.testing.assert_allclose(left, (ball.max(0) + ball.min(0)) / 2, atol=1e-3)
    np.testing.assert_allclose(left, right * (-1, 1, 1), atol=1e-5)
    assert root[1] < neck[1] < jaw[1] < left[1]
    assert abs(jaw[0]) < 1e-4
    # The hinge of the jaw is below and behind the eyes, in front of the ears' middle.
    assert model.template[model.regions["left_ear"], 2].mean() < jaw[2] < left[2] - 0.03


def test_skinning_gives_each_part_its_joint(model):
    weights = model.skinning
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)
    assert weights.min() >= 0
    for name, joint in (("left_eyeball", 3), ("right_eyeball", 4), ("lower_teeth", 2),
                        ("tongue", 2), ("upper_teeth", 1), ("left_ear", 1)):  # fmt: skip
        np.testing.assert_allclose(weights[model.regions[name], joint], 1)
    assert weights[model.regions["boundary"], 0].min() > 0.9
    assert weights[model.regions["scalp"], 1].max() > 0.99


def test_lids_close_over_the_eyes_and_open_lids_show_them(model, geometry):
    upper, lower = (386, 385, 387, 159, 158, 160), (374, 380, 373, 145, 153, 144)
    opened, closed = posed(geometry), posed(geometry, lids=(1.0, 1.0))
    gap = landmark(opened, model, *upper)[:, 1] - landmark(opened, model, *lower)[:, 1]
    assert gap.min() > 6e-3
    shut = landmark(closed, model, *upper)[:, 1] - landmark(closed, model, *lower)[:, 1]
    assert np.abs(shut).max() < 1.2e-3
    visible = [eyeball_pixels(model, v) for v in (opened, closed)]
    assert visible[0] > 300
    assert visible[1] < 0.02 * visible[0]
    one = posed(geometry, lids=(1.0, 0.0))
    assert torch.equal(one[0, model.regions["right_ear"]], opened[0, model.regions["right_ear"]])
    moved = (one - opened)[0].norm(dim=1).numpy() > 1e-5
    assert model.template[moved, 0].min() > 0


def eyeball_pixels(model, vertices) -> int:
    """Pixels of a frontal parallel view, 0.5 mm each, that show an eyeball."""
    flat = torch.stack(
        [vertices[..., 0] * 2000 + 150, 300 - vertices[..., 1] * 2000, 1 - vertices[..., 2]], -1
    )
    face, _ = rasterize_triangles(flat, torch.from_numpy(model.faces), 300, 300)
    eyes = np.concatenate([model.regions["left_eyeball"], model.regions["right_eyeball"]])
    shows = np.isin(model.faces, eyes).all(1)
    seen = face.numpy()
    return int(shows[seen[seen >= 0]].sum())


def test_half_closed_lids_stay_in_front_of_the_eyeball(model, geometry):
    head = assemble()
    lid = np.flatnonzero((head.anatomy.eye_ring > 0.6) & (head.anatomy.eye_ring <= 1.0))
    joints = geometry.joints(torch.zeros(33), torch.zeros(1, 39))[0, 3:].numpy()
    radius = np.ptp(model.template[model.regions["left_eyeball"], 0]) / 2
    for share in (0.25, 0.5, 0.75, 1.0):
        vertices = posed(geometry, lids=(share, share))[0, lid].numpy()
        distance = np.linalg.norm(vertices[:, None] - joints, axis=2).min(1)
        assert distance.min() > radius


def test_the_jaw_opens_the_mouth_and_shows_the_teeth(model, geometry):
    shut, opened = posed(geometry), posed(geometry, jaw=0.3)
    gap = landmark(shut, model, 13, 14)[:, 1]
    assert abs(gap[0] - gap[1]) < 1e-3
    gap = landmark(opened, model, 13, 14)[:, 1]
    assert 0.018 < gap[0] - gap[1] < 0.045
    chin = landmark(opened, model, 17)[0] - landmark(shut, model, 17)[0]
    assert chin[1] < -0.015
    still = model.regions["nose"], model.regions["upper_teeth"], model.regions["scalp"]
    for ids in still:
        torch.testing.assert_close(opened[0, ids], shut[0, ids], atol=2e-4, rtol=0)


def test_expressions_move_what_they_name(model, geometry):
    neutral = landmark(posed(geometry), model, 61, 291, 70, 300, 13, 14)

    def change(**exp):
        return landmark(posed(geometry, exp=exp), model, 61, 291, 70, 300, 13, 14) - neutral

    smile = change(mouthSmile_L=1.0)
    assert smile[1, 1] > 4e-3
    assert abs(smile[0]).max() < 1e-3
    assert change(mouthFrown_R=1.0)[0, 1] < -3e-3
    pucker = change(mouthPucker=1.0)
    assert pucker[1, 0] < -4e-3
    assert pucker[0, 0] > 4e-3
    assert change(browOuterUp_L=1.0)[3, 1] > 2e-3
    funnel = change(mouthFunnel=1.0)
    assert funnel[4, 1] - funnel[5, 1] > 4e-3


def test_other_identities_keep_their_eyes_in_their_lids(model, geometry):
    head = assemble()
    margin = np.flatnonzero(np.isclose(head.anatomy.eye_ring, 1.0))
    generator = torch.Generator().manual_seed(5)
    for _ in range(4):
        shape = torch.randn(model.shape_basis.shape[2], generator=generator)
        vertices = posed(geometry, shape=shape)[0].numpy()
        centers = geometry.joints(shape, torch.zeros(1, 39))[0, 3:].numpy()
        distance = np.linalg.norm(vertices[margin, None] - centers, axis=2).min(1)
        before = np.linalg.norm(
            model.template[margin, None]
            - geometry.joints(torch.zeros(33), torch.zeros(1, 39))[0, 3:].numpy(),
            axis=2,
        ).min(1)
        assert np.abs(distance - before).max() < 1.5e-3


def test_the_mesh_is_oriented_outwards_without_double_edges(model):
    faces = model.faces
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed)
    a, b, c = (model.template[faces[:, k]].astype(np.float64) for k in range(3))
    normal, middle = np.cross(b - a, c - a), (a + b + c) / 3
    assert np.linalg.norm(normal, axis=1).min() > 0
    for name in ("scalp", "neck", "left_eyeball", "right_eyeball", "forehead"):
        ids = model.regions[name]
        inside = np.isin(faces, ids).all(1)
        center = model.template[ids].mean(0) if "eye" in name else np.array([0, 0.02, -0.03])
        arm = middle[inside] - center
        if name == "neck":
            arm[:, 1] = 0
        share = ((normal[inside] * arm).sum(1) > 0).mean()
        assert share > 0.97, name


def test_islands_of_the_atlas_do_not_overlap(model):
    size = 1024
    uv = torch.from_numpy(model.uv)
    flat = torch.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size, torch.ones(len(uv))], 1)[None]
    corners = model.uv_faces
    forward, bary = rasterize_triangles(flat, torch.from_numpy(corners), size, size)
    backward, _ = rasterize_triangles(flat, torch.from_numpy(corners[::-1].copy()), size, size)
    covered = forward[0] >= 0
    # Where triangles lie over each other, the order decides which one shows.
    differ = covered & (forward[0] != len(corners) - 1 - backward[0])
    assert (differ & (bary[0].amin(-1) > 1e-3)).sum() == 0
    assert covered.float().mean() > 0.85
    assert model.uv.min() >= 0
    assert model.uv.max() <= 1


def test_the_jaw_line_slides_forward_on_the_far_side(model, geometry):
    vertices = posed(geometry).expand(3, -1, -1)
    turn = matrix_from_axis_angle(torch.deg2rad(torch.tensor([[0.0, y, 0] for y in (-35, 0, 35)])))
    rotation = torch.diag(torch.tensor([1.0, -1, -1])) @ turn
    line = contour_points(vertices, model.landmarks["contour"], rotation).numpy()
    assert line[1, 0, 0] < -0.05
    assert line[1, 16, 0] > 0.05
    assert line[1, 8, 1] == line[1, :, 1].min()
    assert line[2, 14, 2] > line[0, 14, 2] + 0.005
    assert line[0, 2, 2] > line[2, 2, 2] + 0.005
    np.testing.assert_allclose(line[0, ::-1], line[2] * (-1, 1, 1), atol=2e-3)


def test_landmarks_lie_on_what_they_name(model, geometry):
    vertices = posed(geometry)
    found = model.landmarks["mediapipe"]
    wanted = {i for name, group in MEDIAPIPE_GROUPS.items() if name != "oval" for i in group}
    assert wanted <= set(found.index.tolist())
    ids, (local,) = compact(found)
    torch.testing.assert_close(points(vertices[:, ids], local), points(vertices, found))
    for name in ("left", "right"):
        iris = landmark(vertices, model, *MEDIAPIPE_GROUPS[f"{name}_iris"])
        ball = model.template[model.regions[f"{name}_eyeball"]]
        assert np.linalg.norm(iris[0] - ball[ball[:, 2].argmax()]) < 1e-3
    mirrored = landmark(vertices, model, 263, 362, 291, 4) * (-1, 1, 1)
    np.testing.assert_allclose(landmark(vertices, model, 33, 133, 61, 4), mirrored, atol=1e-3)


def test_the_texture_is_painted_for_the_person_asked_for():
    plain, other = paint_texture(128), paint_texture(128, Person(iris=(0.8, 0.1, 0.1)))
    assert plain.shape == (128, 128, 3)
    assert plain.dtype == np.float32
    assert 0 <= plain.min() < plain.max() <= 1
    changed = np.abs(plain - other).max(2) > 0.05
    assert 0 < changed.mean() < 0.05
    np.testing.assert_array_equal(plain, paint_texture(128))
