"""Head geometry: blendshapes, linear blend skinning and eyelids."""

import numpy as np
import pytest
import torch

from headsplat.heads.landmarks import compact, contour_bins, contour_points, points
from headsplat.heads.skinning import HeadGeometry, SubjectGeometry
from headsplat.rotations import matrix_from_axis_angle
from tests.unit.toy_head import toy_head

F64 = torch.float64


@pytest.fixture(scope="module")
def geometry() -> HeadGeometry:
    return HeadGeometry(toy_head(), dtype=F64)


def still(batch: int) -> dict[str, torch.Tensor]:
    eye = torch.eye(3, dtype=F64)
    return {
        "shape": torch.zeros(6, dtype=F64),
        "exp": torch.zeros(batch, 5, dtype=F64),
        "jaw": eye.expand(batch, 3, 3),
        "eyes": eye.expand(batch, 2, 3, 3),
        "eyelids": torch.zeros(batch, 2, dtype=F64),
    }


def moving(batch: int) -> dict[str, torch.Tensor]:
    make = torch.Generator().manual_seed(1)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, dtype=F64, generator=make) * 0.4

    return {
        "shape": noise(6),
        "exp": noise(batch, 5),
        "jaw": matrix_from_axis_angle(noise(batch, 3)),
        "eyes": matrix_from_axis_angle(noise(batch, 2, 3)),
        "eyelids": noise(batch, 2),
    }


def test_identity_pose_is_the_template(geometry):
    template = torch.as_tensor(geometry.model.template, dtype=F64)
    torch.testing.assert_close(geometry.vertices(**still(2))[1], template, atol=1e-7, rtol=0)


def test_skinning_agrees_with_the_textbook_chain(geometry):
    """Homogeneous 4x4 products, joint by joint, with all rotations and correctives."""
    given = moving(3)
    neck = matrix_from_axis_angle(torch.tensor([[0.2, -0.1, 0.3]], dtype=F64)).expand(3, 3, 3)
    got = geometry.vertices(**given, neck=neck)
    model = geometry.model
    for frame in range(3):
        coefficients = np.concatenate([given["shape"], given["exp"][frame]])
        basis = np.concatenate([model.shape_basis, model.expression_basis], 2)
        shaped = model.template + basis @ coefficients
        joints = model.joint_regressor @ shaped
        local = [np.eye(3), neck[frame], given["jaw"][frame], *given["eyes"][frame]]
        local = [np.asarray(r) for r in local]
        feature = np.concatenate([(r - np.eye(3)).ravel() for r in local[1:]])
        shaped = shaped + model.pose_basis @ feature
        world: list[np.ndarray] = []
        for j, parent in enumerate(model.parents):
            move = np.eye(4)
            move[:3, :3] = local[j]
            move[:3, 3] = joints[j] - (joints[parent] if parent >= 0 else 0)
            world.append(move if parent < 0 else world[parent] @ move)
        expected = np.zeros_like(shaped)
        for j in range(5):
            turned = (shaped - joints[j]) @ world[j][:3, :3].T + world[j][:3, 3]
            expected += model.skinning[:, j : j + 1] * turned
        lids = model.eyelid_basis @ np.asarray(given["eyelids"][frame])
        expected += lids @ np.asarray(neck[frame]).T
        np.testing.assert_allclose(got[frame], expected, atol=1e-8)


def test_neck_turns_the_head_rigidly_about_its_joint(geometry):
    """Vertices without root weight: v(R_n) = R_n (v(I) - J_1) + J_1, lids included."""
    model = toy_head(pose=False)
    model.skinning[:, 1:] += model.skinning[:, :1] / 4
    model.skinning[:, 0] = 0
    head = HeadGeometry(model, dtype=F64)
    given = moving(2)
    neck = matrix_from_axis_angle(torch.tensor([[0.3, 0.2, -0.5]] * 2, dtype=F64))
    pivot = head.joints(given["shape"], given["exp"])[:, 1:2]
    turned = (head.vertices(**given) - pivot) @ neck.transpose(-1, -2) + pivot
    torch.testing.assert_close(head.vertices(**given, neck=neck), turned, atol=1e-8, rtol=0)


def test_the_trunk_carries_the_roots_share(geometry):
    given = moving(2)
    trunk = torch.eye(3, 4, dtype=F64).repeat(2, 1, 1)
    plain = geometry.vertices(**given)
    torch.testing.assert_close(geometry.vertices(**given, trunk=trunk), plain)
    trunk[0, :, :3] = matrix_from_axis_angle(torch.tensor([[0.0, 0.4, 0.1]], dtype=F64))[0]
    trunk[0, :, 3] = torch.tensor([0.01, -0.02, 0.03])
    posed = geometry.vertices(**given, trunk=trunk)
    moved = plain[0] @ trunk[0, :, :3].T + trunk[0, :, 3]
    share = torch.as_tensor(geometry.model.skinning[:, :1], dtype=F64)
    assert 0 < share.sum() < len(share)
    torch.testing.assert_close(posed[0], plain[0] * (1 - share) + moved * share)
    torch.testing.assert_close(posed[1], plain[1])
    fast = SubjectGeometry(geometry, given["shape"], torch.arange(len(share)))
    turns = torch.cat([given["jaw"][:, None], given["eyes"]], 1)
    again = fast.vertices(given["exp"], turns, given["eyelids"], trunk)
    torch.testing.assert_close(again, posed)
    with pytest.raises(ValueError, match="at most one"):
        geometry.vertices(**given, neck=given["jaw"], trunk=trunk)


def test_a_subset_of_vertices_equals_the_rows_of_all(geometry):
    ids = torch.tensor([7, 0, 31, 12])
    given = moving(4)
    torch.testing.assert_close(
        geometry.vertices(**given, vertex_ids=ids), geometry.vertices(**given)[:, ids]
    )


def test_gradients_are_exact(geometry):
    given = {k: v.clone().requires_grad_() for k, v in moving(2).items()}
    ids = torch.tensor([3, 19])

    def evaluate(*values: torch.Tensor) -> torch.Tensor:
        return geometry.vertices(*values, vertex_ids=ids)

    assert torch.autograd.gradcheck(evaluate, tuple(given.values()))


def test_wrong_coefficient_count_is_refused(geometry):
    given = still(2) | {"exp": torch.zeros(2, 4, dtype=F64)}
    with pytest.raises(ValueError, match=r"expected \[\.\.\., 5\], got \[2, 4\]"):
        geometry.vertices(**given)


def camera(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> torch.Tensor:
    angles = torch.deg2rad(torch.tensor([[0, yaw, 0], [pitch, 0, 0], [0, 0, roll]], dtype=F64))
    turn, nod, tilt = matrix_from_axis_angle(angles)
    return tilt @ torch.diag(torch.tensor([1.0, -1, -1], dtype=F64)) @ nod @ turn


def test_contour_bins_count_yaw_to_the_left_then_to_the_right():
    yaws = [0, 0.4, 12.3, 39, 70, -0.6, -1, -25, -39, -80]
    bins = contour_bins(torch.stack([camera(y) for y in yaws]))
    assert bins.tolist() == [0, 0, 12, 39, 39, 40, 40, 64, 78, 78]
    assert contour_bins(camera(20, roll=35)[None]).tolist() == [20]


def test_landmarks_and_contour_mix_the_corners(geometry):
    model = geometry.model
    vertices = geometry.vertices(**moving(2))
    rotation = torch.stack([camera(5), camera(-7)])
    for name in ("mediapipe", "multipie68"):
        sets = model.landmarks[name]
        expected = np.einsum("blkc,lk->blc", vertices[:, model.faces[sets.face]], sets.barycentric)
        np.testing.assert_allclose(points(vertices, sets), expected)
    contour = model.landmarks["contour"]
    got = contour_points(vertices, contour, rotation)
    for frame, row in enumerate((5, 46)):
        corners = vertices[frame][model.faces[contour.face[row]]]
        expected = np.einsum("lkc,lk->lc", corners, contour.barycentric[row])
        np.testing.assert_allclose(got[frame], expected)
    ids, (few, line) = compact(model.landmarks["mediapipe"], contour)
    subset = vertices[:, ids]
    torch.testing.assert_close(points(subset, few), points(vertices, model.landmarks["mediapipe"]))
    torch.testing.assert_close(contour_points(subset, line, rotation), got)
