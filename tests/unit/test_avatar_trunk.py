"""The neck turns in the avatar: trunk poses wherever Gaussians are placed and rendered."""

from dataclasses import replace

import pytest
import torch

from headsplat.avatar import Avatar
from headsplat.formats.splats import posed
from headsplat.frame_code import FrameCode
from headsplat.render import FrameRenderer
from headsplat.track import Frame
from tests.unit.sphere_avatar import BACKGROUND, moving
from tests.unit.trunk_avatar import NECK, SPAN, trunk_avatar, trunk_poses

SIZE, INTRINSICS = 40, torch.tensor([100.0, 100, 21, 18])
CAMERA = (INTRINSICS, SIZE, SIZE, BACKGROUND)
COUNT = 5


@pytest.fixture(scope="module")
def avatar() -> Avatar:
    return trunk_avatar("blendshapes")


def frames_of(trunk: torch.Tensor | None) -> Frame:
    code, rotation, translation = moving(COUNT)
    return Frame(0, FrameCode(code), rotation, translation, INTRINSICS, SIZE, SIZE, trunk)


def test_only_the_neck_follows_the_trunk(avatar):
    condition, trunk = moving(COUNT)[0], trunk_poses(COUNT)
    stiff, turned = avatar.vertices(condition), avatar.vertices(condition, trunk)
    rest = torch.from_numpy(avatar.head.template)[avatar._surface.vertex_ids]
    still, low = rest[:, 1] > -NECK, rest[:, 1] < -NECK - SPAN
    assert low.sum() > 10
    assert torch.equal(turned[:, still], stiff[:, still])
    moved = stiff[:, low] @ trunk[:, :, :3].mT + trunk[:, None, :, 3]
    torch.testing.assert_close(turned[:, low], moved, atol=1e-6, rtol=0)


def test_a_model_whose_published_code_knows_no_trunk_keeps_a_stiff_neck():
    avatar, trunk = trunk_avatar("flashavatar"), trunk_poses(COUNT)
    condition = moving(COUNT)[0]
    assert torch.equal(avatar.vertices(condition, trunk), avatar.vertices(condition))
    stiff, _ = avatar.render_codes(*moving(COUNT), *CAMERA)
    turned, _ = avatar.render_codes(*moving(COUNT), *CAMERA, trunk=trunk)
    assert torch.equal(turned, stiff)


def test_a_resting_trunk_is_a_stiff_neck(avatar):
    rest = torch.eye(3, 4).expand(COUNT, 3, 4)
    stiff, _ = avatar.render_codes(*moving(COUNT), *CAMERA)
    same, _ = avatar.render_codes(*moving(COUNT), *CAMERA, trunk=rest)
    torch.testing.assert_close(same, stiff, atol=2e-3, rtol=0)
    turned, _ = avatar.render_codes(*moving(COUNT), *CAMERA, trunk=trunk_poses(COUNT))
    assert (turned - stiff).abs().amax((1, 2, 3)).min() > 0.02


def test_all_ways_to_render_give_equal_images(avatar):
    trunk = trunk_poses(COUNT)
    expected, _ = avatar.render_codes(*moving(COUNT), *CAMERA, trunk=trunk)
    renderer = FrameRenderer(avatar, 2, SIZE, SIZE, INTRINSICS, BACKGROUND)
    batches = [color for color, _ in renderer.frames(*moving(COUNT), trunk)]
    for found in (torch.cat(batches), avatar.render(frames_of(trunk), BACKGROUND.tolist())):
        torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)
    alone = frames_of(None)
    alone = replace(
        alone, code=FrameCode(alone.code.vector[3]), rotation=alone.rotation[3],
        translation=alone.translation[3], trunk=trunk[3],
    )  # fmt: skip
    one = avatar.render(alone, BACKGROUND.tolist())
    torch.testing.assert_close(one, expected[3], atol=2e-6, rtol=0)


def test_a_trunk_of_another_shape_is_refused(avatar):
    renderer = FrameRenderer(avatar, COUNT, SIZE, SIZE, INTRINSICS, BACKGROUND)
    with pytest.raises(ValueError, match=r"trunk: expected shape \[5 3 4\], got \[4, 3, 4\]"):
        renderer.render(*moving(COUNT), trunk_poses(COUNT)[:4])
    with pytest.raises(ValueError, match=r"trunk: expected shape \[5 3 4\]"):
        avatar.render(frames_of(trunk_poses(COUNT)[:, :, :3]))


def test_an_exported_frame_has_the_turned_neck(avatar):
    one = [value[1:2] for value in moving(COUNT)]
    stiff, turned = posed(avatar, *one)[0], posed(avatar, *one, trunk_poses(COUNT)[1:2])[0]
    moved = (turned.means - stiff.means).norm(dim=1)
    high = avatar.place(avatar.vertices(one[0]))[0][0, :, 1] > 0.03
    assert moved[high].max() == 0
    assert moved.max() > 0.005
