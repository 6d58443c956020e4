"""Avatar files: saved and loaded avatars render equally; mismatched parts are refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from headsplat.avatar import Avatar
from headsplat.avatar_files import load_avatar, save_avatar
from headsplat.frame_code import FrameCode
from headsplat.gaussians.anchors import sample_anchors
from headsplat.gaussians.deform.codes import head_pose_6d
from headsplat.gaussians.deform.registry import build_deformation
from headsplat.rotations import matrix_from_axis_angle
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_json, read_npz, write_json, write_npz
from headsplat.track import write_track
from tests.unit.driven import make_track
from tests.unit.sphere_head import sphere_head


@pytest.fixture(scope="module")
def head():
    return sphere_head()


@pytest.fixture(scope="module", params=["blendshapes", "flashavatar"])
def avatar(request, head) -> Avatar:
    torch.manual_seed(0)
    anchors = sample_anchors(head, head.template, 300)
    settings = {"count": 300, "condition_size": FrameCode.size(head)}
    deformation = build_deformation(request.param, settings)
    with torch.no_grad():
        for parameter in deformation.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        if request.param == "flashavatar":
            deformation.scaling_base.fill_(-6.0)
            deformation.mlp.output_linear.weight.mul_(0.01)
            deformation.mlp.output_linear.bias.mul_(0.01)
        else:
            shape = dict(
                zip(
                    ("offset", "quat", "scale", "opacity", "color"),
                    deformation._split(deformation.weights[0]),
                    strict=True,
                )
            )
            shape["quat"][:, 0] = 50
            shape["scale"].fill_(-300)
    device = torch.device("cpu")
    return Avatar(head, torch.zeros(2), anchors, deformation, device, {"steps": 7})


def save(folder, avatar: Avatar) -> None:
    """Write an avatar, with a head file and a track that belong to it."""
    avatar.head.save(folder / "sphere.npz")
    write_track(folder / "clip.npz", make_track(avatar.head))
    save_avatar(folder, avatar, folder / "sphere.npz", folder / "clip.npz")


def view(head, batch: int = 3):
    turn = torch.linspace(-0.3, 0.3, batch)[:, None] * torch.tensor([0.0, 1.0, 0.0])
    rotation = torch.diag(torch.tensor([1.0, -1, -1])) @ matrix_from_axis_angle(turn)
    translation = torch.tensor([0.0, 0, 0.7]).expand(batch, 3)
    condition = FrameCode.neutral(head).vector[None].repeat(batch, 1)
    condition[:, 0] = torch.linspace(0, 1, batch)
    return condition, rotation, translation, torch.tensor([100.0, 100, 21, 18]), 40, 36


def test_save_and_load_render_equally(avatar, head, tmp_path):
    save(tmp_path, avatar)
    loaded = load_avatar(tmp_path, head, "cpu")
    assert loaded.facts == {"steps": 7}
    background = torch.tensor([0.1, 0.5, 0.9])
    first, first_alpha = avatar.render_codes(*view(head), background)
    again, again_alpha = loaded.render_codes(*view(head), background)
    assert first.shape == (3, 36, 40, 3)
    assert first_alpha.shape == (3, 36, 40)
    assert torch.equal(first, again)
    assert torch.equal(first_alpha, again_alpha)
    assert first_alpha.max() > 0.5
    assert not torch.equal(first[0], first[2])
    empty = first_alpha == 0
    torch.testing.assert_close(first[empty], background.expand(int(empty.sum()), 3))
    facts = read_json(tmp_path / "avatar.json")
    assert (facts["head_name"], facts["head_version"], facts["head_licence"]) == (
        "sphere", "1", "MIT",
    )  # fmt: skip


def test_frames_of_a_batch_are_independent(avatar, head):
    together, _ = avatar.render_codes(*view(head), torch.zeros(3))
    condition, rotation, translation, *rest = view(head)
    alone, _ = avatar.render_codes(
        condition[1:2], rotation[1:2], translation[1:2], *rest, torch.zeros(3)
    )
    torch.testing.assert_close(alone[0], together[1], atol=2e-6, rtol=0)


def test_another_head_is_refused(avatar, head, tmp_path):
    save(tmp_path, avatar)
    with pytest.raises(UserError, match="trained with head sphere 1, not sphere 2"):
        load_avatar(tmp_path, replace(head, version="2"), "cpu")


def test_broken_files_are_named(avatar, head, tmp_path):
    with pytest.raises(UserError, match=r"avatar\.json"):
        load_avatar(tmp_path, head, "cpu")
    save(tmp_path, avatar)
    arrays = read_npz(tmp_path / "avatar.npz")
    removed = next(key for key in arrays if key.startswith("state/"))
    write_npz(tmp_path / "avatar.npz", **{k: v for k, v in arrays.items() if k != removed})
    with pytest.raises(UserError, match=r"avatar\.npz"):
        load_avatar(tmp_path, head, "cpu")
    write_json(tmp_path / "avatar.json", {"format": 99})
    with pytest.raises(UserError, match="format 99"):
        load_avatar(tmp_path, head, "cpu")


def test_a_frontal_head_has_the_identity_pose():
    frontal = torch.diag(torch.tensor([1.0, -1.0, -1.0]))[None]
    np.testing.assert_allclose(head_pose_6d(frontal)[0], [1, 0, 0, 0, 1, 0])
