"""The torso of an avatar: bound to the trunk, saved, rendered and exported with the head."""

import re

import numpy as np
import pytest
import torch

from headsplat.avatar import Avatar
from headsplat.avatar_files import load_avatar, save_avatar
from headsplat.formats.splats import posed
from headsplat.gaussians.deform.torso import Torso
from headsplat.render import FrameRenderer
from headsplat.rotations import matrix_from_quaternion
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_json, read_npz, write_json, write_npz
from headsplat.track import write_track
from tests.unit.driven import make_track
from tests.unit.sphere_avatar import BACKGROUND, COUNT, moving
from tests.unit.trunk_avatar import trunk_avatar, trunk_poses

SIZE, INTRINSICS = 48, torch.tensor([110.0, 110, 24, 20])
CAMERA = (INTRINSICS, SIZE, SIZE, BACKGROUND)
FRAMES, DISKS = 5, 60


def new_torso(changes: float = 0.0) -> Torso:
    """Disks below the sphere that face the camera; `changes` is the size of the nine terms."""
    make = torch.Generator().manual_seed(3)
    points = torch.rand(DISKS, 3, generator=make) * torch.tensor([0.2, 0.08, 0.02])
    points -= torch.tensor([0.1, 0.2, 0.0])
    normals = torch.tensor([1.0, 0, 0, 0]).expand(DISKS, 4)
    torso = Torso(DISKS)
    colors = torch.rand(DISKS, 3, generator=make)
    rotation = moving(FRAMES)[1]
    codes = torso.code(rotation, trunk_poses(FRAMES))
    torso.start(points, normals, torch.full((DISKS,), 0.01), colors, 0.9, codes)
    with torch.no_grad():
        torso.weights[1:] = changes * torch.randn(torso.weights[1:].shape, generator=make)
    return torso


@pytest.fixture(scope="module", params=["blendshapes", "flashavatar"])
def avatar(request) -> Avatar:
    whole = trunk_avatar(request.param)
    return Avatar(
        whole.head, whole.shape, whole.anchors, whole.deformation, whole.device,
        torso=new_torso(changes=0.5),
    )  # fmt: skip


def drawn(avatar: Avatar, trunk: torch.Tensor | None, **more: bool) -> torch.Tensor:
    return avatar.render_codes(*moving(FRAMES), *CAMERA, trunk=trunk, **more)[0]


def test_the_torso_moves_as_the_trunk():
    torso, trunk, rotation = new_torso(), trunk_poses(FRAMES), moving(FRAMES)[1]
    found, rest = torso(rotation, trunk), torso(rotation)
    turn, shift = trunk[:, :, :3], trunk[:, None, :, 3]
    torch.testing.assert_close(found.means, rest.means @ turn.mT + shift, atol=1e-6, rtol=0)
    turned = matrix_from_quaternion(found.quats)
    expected = turn[:, None] @ matrix_from_quaternion(rest.quats)
    torch.testing.assert_close(turned, expected, atol=1e-5, rtol=0)
    assert torch.equal(rest.scales, found.scales)
    assert (found.means[1] - found.means[3]).abs().max() > 0.02


def test_codes_are_neck_and_light_within_the_range_of_training():
    torso, rotation = new_torso(changes=0.5), moving(FRAMES)[1]
    frontal = torch.diag(torch.tensor([1.0, -1, -1]))[None]
    assert torso.code(frontal, torch.eye(3, 4)[None]).abs().max() == 0
    code = torso.code(rotation, trunk_poses(FRAMES))
    torch.testing.assert_close(code[:, 3:6], trunk_poses(FRAMES)[:, :, 3])
    far = trunk_poses(FRAMES).clone()
    far[..., 3] += torch.tensor([100.0, 0, 0])
    farther = far.clone()
    farther[..., 3] += torch.tensor([100.0, 0, 0])
    # Beyond the range the shape stays; the place does not.
    a, b = torso(rotation, far), torso(rotation, farther)
    torch.testing.assert_close(a.scales, b.scales)
    torch.testing.assert_close(a.means + torch.tensor([100.0, 0, 0]), b.means, atol=1e-4, rtol=0)


def test_the_head_alone_is_the_avatar_without_a_torso(avatar):
    trunk = trunk_poses(FRAMES)
    head = Avatar(avatar.head, avatar.shape, avatar.anchors, avatar.deformation, avatar.device)
    alone = drawn(head, trunk)
    assert torch.equal(drawn(avatar, trunk, head_only=True), alone)
    both = drawn(avatar, trunk)
    assert (both - alone)[:, SIZE // 2 + 12 :].abs().amax((1, 2, 3)).min() > 0.2
    assert avatar.count == head.count + DISKS == COUNT + DISKS
    renderer = FrameRenderer(avatar, 3, SIZE, SIZE, INTRINSICS, BACKGROUND)
    batches = [color.clone() for color, _ in renderer.frames(*moving(FRAMES), trunk)]
    torch.testing.assert_close(torch.cat(batches), both, atol=2e-6, rtol=0)
    renderer = FrameRenderer(avatar, FRAMES, SIZE, SIZE, INTRINSICS, BACKGROUND, head_only=True)
    assert torch.equal(renderer.render(*moving(FRAMES), trunk)[0], alone)


def test_without_a_trunk_the_torso_is_stiff_under_the_head(avatar):
    rest = torch.eye(3, 4).expand(FRAMES, 3, 4)
    torch.testing.assert_close(drawn(avatar, None), drawn(avatar, rest), atol=2e-3, rtol=0)


@pytest.fixture(scope="module")
def saved(avatar, tmp_path_factory):
    folder = tmp_path_factory.mktemp("avatar")
    avatar.head.save(folder / "head_model.npz")
    write_track(folder / "clip.npz", make_track(avatar.head))
    (folder / "model").mkdir()
    save_avatar(folder / "model", avatar, folder / "head_model.npz", folder / "clip.npz")
    return folder / "model"


def test_a_saved_torso_is_the_same(avatar, saved):
    loaded = load_avatar(saved, device="cpu")
    assert read_json(saved / "avatar.json")["torso"] == DISKS
    trunk = trunk_poses(FRAMES)
    assert torch.equal(drawn(loaded, trunk), drawn(avatar, trunk))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("torso/rest", None, "expected the arrays rest, weights"),
        ("torso/more", np.zeros(3), "expected the arrays rest, weights"),
        ("torso/rest", np.zeros((DISKS, 2), np.float32), r"shape \[60, 3\] in 'rest'"),
        ("torso/rest", np.float32(1), r"in 'rest'"),
        ("torso/weights", np.zeros((9, 7), np.float32), r"shape \[10, 840\] in 'weights'"),
        ("torso/code_mean", np.full(9, np.nan, np.float32), r"finite numbers .* in 'code_mean'"),
        ("torso/code_scale", np.zeros(9, np.float32), "'code_scale' of at least 0.001"),
        ("torso/code_scale", np.full(9, 1e-45, np.float32), "'code_scale' of at least 0.001"),
        ("torso/code_mean", np.full(9, 1e300), "in 'code_mean'"),
        ("torso/code_range", np.full((2, 9), -1e300), "in 'code_range'"),
        ("anchor_height", np.full(1, 1e300), "'anchor_height' is damaged"),
        ("torso/code_range", np.array(["x"] * 18).reshape(2, 9), "in 'code_range'"),
        (None, 7, "expected 7 Gaussians, found 60"),
        (None, "many", "'torso' is missing or broken"),
    ],
)
def test_a_damaged_torso_is_one_line(saved, tmp_path, name, value, message):
    for file in saved.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    if name is None:
        facts = read_json(saved / "avatar.json")
        write_json(tmp_path / "avatar.json", facts | {"torso": value})
    else:
        arrays = read_npz(saved / "avatar.npz") | {name: value}
        write_npz(tmp_path / "avatar.npz", **{k: v for k, v in arrays.items() if v is not None})
    with pytest.raises(UserError, match=message) as refused:
        load_avatar(tmp_path, device="cpu")
    assert re.fullmatch(r".*avatar\.(npz|json): .*; train the avatar again", str(refused.value))


def test_exports_hold_head_and_torso(avatar):
    one = [value[:1] for value in moving(FRAMES)]
    (splats,) = posed(avatar, *one, trunk_poses(FRAMES)[:1])
    harmonics = splats.harmonics
    assert harmonics.shape == (COUNT + DISKS, 16, 3)
    assert splats.means.shape == (COUNT + DISKS, 3)
    torso = avatar.torso(one[1], trunk_poses(FRAMES)[:1])
    torch.testing.assert_close(splats.means[COUNT:], torso.means[0])
    torch.testing.assert_close(harmonics[COUNT:, 0] * 0.28209479 + 0.5, torso.colors[0])
    assert harmonics[COUNT:, 1:].abs().max() == 0
