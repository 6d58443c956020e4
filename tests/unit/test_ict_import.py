"""Import of the real ICT-FaceKit archive."""

import numpy as np
import pytest
import torch

from headsplat.gaussians.raster.triangles import rasterize_triangles
from headsplat.heads.ict import parts
from headsplat.heads.landmarks import (  # fmt: skip
    EYELID_DISTANCE_PAIRS,
    LIP_DISTANCE_PAIRS,
    MEDIAPIPE_GROUPS,
    contour_points,
    pick,
    points,
)
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_axis_angle
from tests.unit import ict_head

JAW_ANGLE = np.deg2rad(25.334)


@pytest.fixture(scope="module")
def head(shared):
    return ict_head.head(shared)


@pytest.fixture(scope="module")
def pose(head):
    geometry = HeadGeometry(head)

    def evaluate(jaw=0.0, gaze=(0.0, 0.0), lids=(0.0, 0.0), shape=None, **expressions):
        exp = torch.zeros(1, 53)
        for name, value in expressions.items():
            exp[0, head.expression_names.index(name)] = value
        turns = matrix_from_axis_angle(torch.tensor([[jaw, 0, 0], [*gaze, 0], [*gaze, 0]]).float())
        coefficients = torch.zeros(100) if shape is None else shape
        return geometry.vertices(
            coefficients, exp, turns[:1], turns[None, 1:], torch.tensor([lids], dtype=torch.float32)
        )

    return evaluate


def ict_vertices(shared, head):
    """ICT's number of each vertex of the head, by its resting place; (V,) int."""
    model = ict_head.source(shared)
    there = (model.neutral.astype(np.float64) * parts.METRES + parts.OFFSET).astype(np.float32)
    number = {row.tobytes(): k for k, row in enumerate(there)}
    return np.array([number[row.tobytes()] for row in head.template])


def distance(vertices, landmarks, pair):
    a, b = (points(vertices, pick(landmarks, (i,)))[0, 0] for i in pair)
    return float((a - b).norm())


def test_sizes_names_and_frame(head):
    assert head.shape_basis.shape[2] == 100
    assert head.expression_names == parts.EXPRESSIONS
    assert 15_000 < len(head.template) < 22_000
    low, high = head.template.min(0), head.template.max(0)
    # FLAME's box, roughly: the origin is inside the head.
    assert (low > (-0.12, -0.21, -0.17)).all()
    assert (high < (0.12, 0.15, 0.08)).all()
    nose = points(torch.from_numpy(head.template)[None], head.landmarks["multipie68"])[0, 30 - 17]
    assert abs(float(nose[0])) < 1e-3
    assert float(nose[2]) == pytest.approx(head.template[:, 2].max(), abs=2e-3)
    assert len(np.unique(head.faces)) == len(head.template)


def test_faces_look_outwards(head):
    a, b, c = (head.template[head.faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    skin = np.isin(head.faces, head.regions["scalp"]).all(1)
    assert ((normal * (a - (0, 0.03, -0.03))).sum(1)[skin] > 0).mean() > 0.999
    balls = np.isin(head.faces, head.regions["left_eyeball"]).all(1)
    center = (head.joint_regressor @ head.template)[3]
    assert ((normal * (a - center)).sum(1)[balls] > 0).all()


def test_saves_and_loads(head, tmp_path):
    head.save(tmp_path / "ict.npz")
    again = HeadModel.load(tmp_path / "ict.npz")
    np.testing.assert_array_equal(again.template, head.template)
    assert again.licence.startswith("MIT")
    assert again.name == "ict"


def test_jaw_rotation_reproduces_jaw_open(shared, head, pose):
    ids = ict_vertices(shared, head)
    wanted = ict_head.source(shared).expressions[parts.EXPRESSIONS.index("jawOpen")] * parts.METRES
    moved = (pose(jaw=JAW_ANGLE) - pose())[0].numpy()
    error = np.linalg.norm(moved - wanted[ids], axis=1)
    assert np.linalg.norm(wanted[ids], axis=1).max() > 0.03
    lower = np.isin(ids, parts.LOWER_TEETH)
    assert lower.sum() > 500
    assert error[lower].max() < 1e-3
    assert error.max() < 1e-3
    # Without correctives the chin and lower lip already follow the joint.
    chin = np.isin(ids, ict_head.source(shared).landmarks[[7, 8, 9, 56, 57, 58]])
    assert head.skinning[chin, 2].min() > 0.8


def test_jaw_leaves_the_upper_head_still(head, pose):
    moved = (pose(jaw=0.3) - pose())[0].norm(dim=1).numpy()
    for name in ("forehead", "left_eyeball", "brows"):
        assert moved[head.regions[name]].max() < 1e-3
    assert moved[head.template[:, 1] > 0.06].max() < 1e-3
    teeth = head.regions["teeth"]
    upper = teeth[head.skinning[teeth, 2] < 0.5]
    assert len(upper) > 500
    assert moved[upper].max() < 1e-6


def test_jaw_opens_the_mouth(head, pose):
    def gap(vertices):
        pairs = [distance(vertices, head.landmarks["mediapipe"], p) for p in LIP_DISTANCE_PAIRS]
        return np.mean(pairs)

    assert gap(pose()) < 0.003
    assert gap(pose(jaw=0.3)) > 0.015


def test_mouth_close_corrects_the_opened_jaw_as_in_ict(shared, head, pose):
    ids = ict_vertices(shared, head)
    wanted = sum(
        ict_head.source(shared).expressions[parts.EXPRESSIONS.index(name)][ids]
        for name in ("jawOpen", "mouthClose")
    )
    moved = (pose(jaw=JAW_ANGLE, mouthClose=1.0) - pose())[0].numpy()
    assert np.linalg.norm(moved - wanted * parts.METRES, axis=1).max() < 1e-3


def test_lids_close_each_eye(head, pose):
    landmarks = head.landmarks["mediapipe"]
    for side, lids in (("left", (1.0, 0.0)), ("right", (0.0, 1.0))):
        other = "right" if side == "left" else "left"
        shut = pose(lids=lids)
        for pair in EYELID_DISTANCE_PAIRS[side]:
            assert distance(pose(), landmarks, pair) > 0.006
            # The lower lid slides inwards as the eye shuts, so only the height says closed.
            upper, lower = (points(shut, pick(landmarks, (i,)))[0, 0] for i in pair)
            assert abs(float(upper[1] - lower[1])) < 0.0008
        for pair in EYELID_DISTANCE_PAIRS[other]:
            assert distance(shut, landmarks, pair) > 0.006


def test_closed_lids_cover_the_eyeballs(head, pose):
    vertices = pose(lids=(1.0, 1.0))
    image = torch.stack([vertices[..., 0], -vertices[..., 1]], -1) * 3000 + 512
    seen = torch.cat([image, 10 - vertices[..., 2:]], -1)
    face, _ = rasterize_triangles(seen, torch.from_numpy(head.faces), 1024, 1024)
    number = face[face >= 0].long().numpy()
    balls = np.concatenate([head.regions["left_eyeball"], head.regions["right_eyeball"]])
    # At rest an eye shows about 2,000 pixels at this scale.
    assert np.isin(head.faces[number], balls).all(1).sum() < 60


def test_shapes_are_not_available_twice(head):
    for name in ("jawOpen", "eyeBlink_L", "eyeBlink_R"):
        column = head.expression_basis[:, :, head.expression_names.index(name)]
        assert not column.any()
    others = [n for n in head.expression_names if n not in ("jawOpen", "eyeBlink_L", "eyeBlink_R")]
    for name in others:
        column = head.expression_basis[:, :, head.expression_names.index(name)]
        assert np.abs(column).max() > 5e-4


def test_eyes_turn_about_their_centers_for_any_identity(head, pose):
    shape = torch.from_numpy(np.random.default_rng(3).normal(size=100)).float()
    joints = HeadGeometry(head).joints(shape, torch.zeros(1, 53))[0]
    before, after = pose(shape=shape)[0], pose(shape=shape, gaze=(0.2, 0.3))[0]
    for name, joint in (("left_eyeball", 3), ("right_eyeball", 4)):
        ids = torch.from_numpy(head.regions[name]).long()
        a, b = before[ids] - joints[joint], after[ids] - joints[joint]
        torch.testing.assert_close(a.norm(dim=1), b.norm(dim=1), atol=1e-6, rtol=0)
        back = a[:, 2] < a[:, 2].quantile(0.5)
        radius = a[back].norm(dim=1)
        assert float(radius.std()) < 1e-3
        # Positive y turns the gaze to the subject's left.
        assert float((b - a)[a[:, 2].argmax(), 0]) > 0.002


def test_parts_do_not_overlap_in_the_atlas(head):
    size = 1024
    points_uv = torch.from_numpy(head.uv) * size
    flat = torch.cat([points_uv, torch.ones(len(head.uv), 1)], 1)[None]
    assert head.uv.min() >= 0
    assert head.uv.max() <= 1
    groups = {
        "left": ("left_eyeball",), "right": ("right_eyeball",), "teeth": ("teeth",),
        "mouth": ("mouth_interior",),
    }  # fmt: skip
    inside = {
        name: np.isin(head.faces, np.concatenate([head.regions[r] for r in regions])).all(1)
        for name, regions in groups.items()
    }
    inside["skin"] = ~np.logical_or.reduce(list(inside.values()))
    covered = torch.zeros(size, size, dtype=torch.int32)
    for mask in inside.values():
        faces = torch.from_numpy(head.uv_faces[mask])
        face, _ = rasterize_triangles(flat, faces, size, size)
        covered += (face[0] >= 0).int()
        corners = head.uv[head.uv_faces[mask]].astype(np.float64)
        first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        area = 0.5 * np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]).sum()
        # A part that folded onto itself would have more area than it covers.
        assert area * size**2 < 1.03 * float((face >= 0).sum())
    assert int(covered.max()) == 1


def test_mediapipe_points_lie_on_their_parts(head):
    landmarks = head.landmarks["mediapipe"]
    wanted = {i for name, g in MEDIAPIPE_GROUPS.items() if name != "oval" for i in g}
    assert wanted <= set(landmarks.index.tolist())
    assert len(landmarks.index) > 250
    assert (np.diff(landmarks.index) > 0).all()

    def corners(group):
        return pick(landmarks, group).corners

    assert np.isin(corners(MEDIAPIPE_GROUPS["left_iris"]), head.regions["left_eyeball"]).all()
    assert np.isin(corners(MEDIAPIPE_GROUPS["right_iris"]), head.regions["right_eyeball"]).all()
    lips = MEDIAPIPE_GROUPS["lips_outer"] + MEDIAPIPE_GROUPS["lips_inner"]
    assert np.isin(corners(lips), head.regions["lips"]).all()
    assert head.skinning[corners((13, 82, 312, 0, 37, 267)), 2].max() < 0.5
    assert head.skinning[corners((14, 87, 317, 17, 84, 314)), 2].min() > 0.5
    assert np.isin(corners(MEDIAPIPE_GROUPS["left_eye"]), head.regions["left_eye_region"]).all()
    assert np.isin(corners(MEDIAPIPE_GROUPS["right_eye"]), head.regions["right_eye_region"]).all()
    for name in ("brows", "nose"):
        assert np.isin(corners(MEDIAPIPE_GROUPS[name]), head.regions["face"]).all()


def test_landmarks_are_nearly_symmetric(head):
    at_rest = torch.from_numpy(head.template)[None]

    def at(group):
        return np.stack(
            [points(at_rest, pick(head.landmarks["mediapipe"], (i,)))[0, 0] for i in group]
        )

    left, right = at(MEDIAPIPE_GROUPS["left_eye"]), at(MEDIAPIPE_GROUPS["right_eye"])
    assert np.linalg.norm(left - right * (-1, 1, 1), axis=1).mean() < 0.0025
    assert left[:, 0].min() > 0


def test_multipie_points_and_sliding_contour(head, pose):
    vertices = pose()
    static = points(vertices, head.landmarks["multipie68"])[0]
    assert head.landmarks["multipie68"].index.tolist() == list(range(17, 68))
    assert float(static[36 - 17, 0]) < 0 < float(static[45 - 17, 0])
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0]))

    def jaw_line(degrees):
        turn = matrix_from_axis_angle(torch.tensor([[0.0, np.deg2rad(degrees), 0.0]]).float())
        return contour_points(vertices, head.landmarks["contour"], flip @ turn)[0]

    rest, left, right = jaw_line(0), jaw_line(35), jaw_line(-35)
    assert float(rest[0, 0]) < -0.06
    assert float(rest[16, 0]) > 0.06
    assert float(rest[8, 1]) < float(static[57 - 17, 1]) - 0.02
    # The far cheek's outline lies further forward; the near one stays.
    assert float((left - rest)[13:16, 2].min()) > 0.015
    assert float((left - rest)[1:4].norm(dim=1).max()) < 0.004
    assert float((right - rest)[1:4, 2].min()) > 0.015


def test_regions_are_where_they_should_be(head):
    middle = {name: head.template[ids].mean(0) for name, ids in head.regions.items()}
    assert middle["left_eyeball"][0] > 0.025
    assert middle["right_ear"][0] < -0.06
    assert middle["scalp"][1] > middle["forehead"][1] - 0.03
    assert middle["neck"][1] < middle["lips"][1]
    rim = head.template[head.regions["boundary"]]
    assert rim[:, 1].max() < -0.09
    assert set(head.regions["lips"]) & set(head.regions["mouth_interior"])
    assert not set(head.regions["scalp"]) & set(head.regions["face"])
    assert np.isin(head.regions["brows"], head.regions["face"]).all()


def test_albedo_contrasts(head):
    def mean(name):
        return head.albedo[head.regions[name]].mean()

    assert head.albedo.min() >= 0
    assert head.albedo.max() <= 1
    assert mean("brows") < 0.7 * mean("forehead")
    assert mean("scalp") < 0.5 * mean("forehead")
    iris = pick(head.landmarks["mediapipe"], (473,)).corners[0]
    assert head.albedo[iris].mean() < 0.45
