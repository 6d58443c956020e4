"""Rendering by a captured CUDA graph against the plain path; skipped without a GPU."""

import pytest
import torch

from headsplat import render
from headsplat.avatar import Avatar
from headsplat.render import FrameRenderer
from headsplat.runtime.errors import UserError
from tests.unit.sphere_avatar import BACKGROUND, moving, sphere_avatar
from tests.unit.test_torso import new_torso
from tests.unit.trunk_avatar import trunk_avatar, trunk_poses

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
SIZE, INTRINSICS = 192, torch.tensor([700.0, 700, 100, 90])


@pytest.fixture(params=["blendshapes", "flashavatar"])
def avatar(request) -> Avatar:
    return sphere_avatar(request.param, "cuda")


def renderer_of(avatar: Avatar, batch: int) -> FrameRenderer:
    return FrameRenderer(avatar, batch, SIZE, SIZE, INTRINSICS, BACKGROUND)


def plain(avatar: Avatar, frames: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    return avatar.render_codes(*frames, INTRINSICS, SIZE, SIZE, BACKGROUND)


def same(found: tuple[torch.Tensor, torch.Tensor], avatar: Avatar, frames: list[torch.Tensor]):
    expected = plain(avatar, frames)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        # Matrix products of another batch size round differently, which may move a pixel across a
        # threshold of the rasterizer. A missing Gaussian would differ far more.
        difference = (one - other).abs()
        assert difference.mean() < 1e-4
        assert difference.max() < 0.05
    assert expected[1].max() > 0.5


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_replay_equals_the_eager_path(avatar, device):
    renderer = renderer_of(avatar, 4)
    for frames in (moving(4), moving(4, distance=0.8), moving(3), moving(1)):
        same(renderer.render(*(v.to(device) for v in frames)), avatar, frames)


def test_consecutive_batches(avatar):
    frames = moving(18)
    for _ in range(2):
        images = [(c.clone(), a.clone()) for c, a in renderer_of(avatar, 4).frames(*frames)]
        assert [len(color) for color, _ in images] == [4, 4, 4, 4, 2]
        same(tuple(map(torch.cat, zip(*images, strict=True))), avatar, frames)


def test_frame_that_overflows_the_buffers_is_rendered_again(avatar, monkeypatch):
    monkeypatch.setattr(render, "FIRST_PAIRS", 1)
    renderer = renderer_of(avatar, 2)
    far, near = moving(2, distance=6.0), moving(2, distance=0.5)
    renderer.render(*far)
    before = renderer._recordings[0, 3]._budget.pairs
    same(renderer.render(*near), avatar, near)
    assert renderer._recordings[0, 3]._budget.pairs > before
    same(renderer.render(*near), avatar, near)

    renderer = renderer_of(avatar, 2)
    mixed = [torch.cat(parts) for parts in zip(far, far, near, near, far, strict=True)]
    images = [(c.clone(), a.clone()) for c, a in renderer.frames(*mixed)]
    same(tuple(map(torch.cat, zip(*images, strict=True))), avatar, mixed)


def test_replay_uses_parameters_changed_in_place(avatar):
    renderer, frames = renderer_of(avatar, 2), moving(2)
    before = renderer.render(*frames)[0].clone()
    with torch.no_grad():
        if avatar.deformation.name == "blendshapes":
            avatar.deformation._split(avatar.deformation.weights[0])[4].add_(20)
        else:
            avatar.deformation.features_dc.add_(0.5)
    after = renderer.render(*frames)
    assert (after[0] - before).abs().max() > 0.05
    same(after, avatar, frames)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_only_the_final_check_synchronizes(avatar, device):
    renderer = renderer_of(avatar, 2)
    frames = [v.to(device) for v in moving(6)]
    for _ in renderer.frames(*frames):
        pass
    torch.cuda.set_sync_debug_mode("error")
    try:
        renderer.render(*(v[:2] for v in frames))
        for _ in renderer.frames(*frames):
            pass
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_non_finite_codes_are_an_error(avatar):
    renderer, frames = renderer_of(avatar, 2), moving(2)
    renderer.render(*frames)
    kept = frames[0][1, 0].item()
    frames[0][1, 0] = float("nan")
    with pytest.raises(UserError, match="not finite"):
        renderer.render(*frames)
    frames[0][1, 0] = kept
    same(renderer.render(*frames), avatar, frames)


def test_render_call_ends_a_running_iteration(avatar):
    renderer, frames = renderer_of(avatar, 2), moving(6)
    images = renderer.frames(*frames)
    next(images)
    next(images)  # the third batch is being rendered into the buffers that `render` uses
    renderer.render(*(v[:2] for v in frames))
    with pytest.raises(ValueError, match="broken off"):
        next(images)


@pytest.mark.parametrize("model", ["blendshapes", "flashavatar"])
def test_a_turning_neck_has_a_recording_of_its_own(model):
    avatar, trunk = trunk_avatar(model, "cuda"), trunk_poses(7)
    renderer = renderer_of(avatar, 4)
    turned = torch.cat([color.clone() for color, _ in renderer.frames(*moving(7), trunk)])
    stiff = torch.cat([color.clone() for color, _ in renderer.frames(*moving(7))])
    expected = avatar.render_codes(*moving(7), INTRINSICS, SIZE, SIZE, BACKGROUND, trunk=trunk)[0]
    assert (turned - expected).abs().mean() < 1e-4
    assert (stiff - plain(avatar, moving(7))[0]).abs().mean() < 1e-4
    assert (turned - stiff).abs().max() > 0.05


def test_a_torso_is_part_of_the_recording():
    avatar = trunk_avatar("blendshapes", "cuda")
    avatar.torso = new_torso(changes=0.5).to("cuda")
    trunk = trunk_poses(5)
    for head_only in (False, True):
        renderer = FrameRenderer(avatar, 2, SIZE, SIZE, INTRINSICS, BACKGROUND, head_only)
        for more in ([trunk], []):
            batches = [color.clone() for color, _ in renderer.frames(*moving(5), *more)]
            expected, _ = avatar.render_codes(
                *moving(5), INTRINSICS, SIZE, SIZE, BACKGROUND,
                trunk=more[0] if more else None, head_only=head_only,
            )  # fmt: skip
            assert (torch.cat(batches) - expected).abs().mean() < 1e-4
