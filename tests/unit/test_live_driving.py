"""Frames to codes and images: equal to a table's, within the limits, with and without a trunk."""

import asyncio
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from headsplat.drive.arkit_motion import motion_from_table
from headsplat.drive.kinds import ABSOLUTE, FACES, MotionOptions
from headsplat.drive.neutral import neutral_face
from headsplat.drive.trunk_motion import following_trunk
from headsplat.formats.arkit.live_link import LiveLinkTable
from headsplat.formats.arkit.names import BLENDSHAPES, ROTATIONS
from headsplat.live.drawing import LiveRenderer
from headsplat.live.driving import LiveDriver, resting
from headsplat.live.frame import ArkitFrame, checked_frame
from headsplat.live.options import InputOptions
from headsplat.live.sources import MotionSource
from headsplat.runtime.errors import UserError
from tests.unit.driven import arkit_like, flame_like, make_avatar, make_driven_subject, make_track
from tests.unit.live_link import write_table
from tests.unit.trunk_avatar import trunk_poses

HEAD = arkit_like()
TRACK = make_track(HEAD)
SUBJECT = make_driven_subject(HEAD, TRACK)
AVATAR = make_avatar(HEAD, np.asarray(TRACK.shape))


def performance(count: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Rows of coefficients and angles that stay within a clip's range or leave it."""
    rng = np.random.default_rng(3)
    weights, angles = rng.random((count, 52)), rng.normal(0, 0.3, (count, 9))
    # A table's closed eyes are the smallest openings in it; here they must be those of code 1.
    for name in ("EyeBlinkLeft", "EyeBlinkRight"):
        weights[:, BLENDSHAPES.index(name)] *= 0.3
    return weights, angles


@pytest.mark.parametrize("face", FACES)
def test_rows_one_by_one_equal_the_table(face):
    weights, angles = performance()
    columns = dict(zip((*BLENDSHAPES, *ROTATIONS), np.hstack([weights, angles]).T, strict=True))
    table = LiveLinkTable(np.arange(len(weights)) / 60, columns)
    options = MotionOptions(ABSOLUTE, face=face)
    motion = motion_from_table("take", table, SUBJECT, options, zero_is_neutral=True)
    expected = SUBJECT.limits.clamp_codes(motion.condition)
    driver = LiveDriver(AVATAR, SUBJECT, face)
    for k in range(len(weights)):
        posed = driver.pose(checked_frame(weights[k], angles[k], pose=True), k / 60)
        torch.testing.assert_close(posed.condition[0], expected[k].float(), atol=1e-6, rtol=0)
        torch.testing.assert_close(posed.rotation[0], motion.rotation[k].float())
        torch.testing.assert_close(posed.translation[0], motion.translation[k].float())
        assert posed.trunk is None


def test_a_neutral_performer_shows_the_subjects_neutral_face():
    posed = LiveDriver(AVATAR, SUBJECT).pose(checked_frame([0] * 52, [0] * 9, pose=True), 0.0)
    face = [*range(posed.condition.shape[1] - 14), -2, -1]  # all but the eyes' turns
    neutral = SUBJECT.limits.hold_codes(neutral_face(SUBJECT.clip)[None]).float()
    torch.testing.assert_close(posed.condition[:, face], neutral[:, face], atol=5e-3, rtol=0)
    torch.testing.assert_close(posed.rotation[0], SUBJECT.limits.rotation.float())
    torch.testing.assert_close(resting(AVATAR, SUBJECT).condition, neutral)


def test_a_head_is_still_on_request_and_without_angles():
    turned = checked_frame([0] * 52, [0.3] * 9, pose=True)
    for driver, frame in (
        (LiveDriver(AVATAR, SUBJECT, still=True), turned),
        (LiveDriver(AVATAR, SUBJECT), replace(turned, pose=False)),
        (LiveDriver(AVATAR, SUBJECT), ArkitFrame.empty()),
    ):
        rotation = driver.pose(frame, 0.0).rotation[0]
        torch.testing.assert_close(rotation, SUBJECT.limits.rotation.float())


def test_limits_hold_silently(caplog):
    caplog.set_level(logging.INFO)
    frame = checked_frame([1] * 52, [1.5] * 9, pose=True)
    posed = LiveDriver(AVATAR, SUBJECT, ABSOLUTE).pose(frame, 0.0)
    low, high = SUBJECT.limits.codes.float()
    assert ((posed.condition >= low) & (posed.condition <= high)).all()
    assert not caplog.records  # 60 lines a second would say nothing


def test_a_trunk_follows_frame_by_frame():
    poses = trunk_poses(len(TRACK)).double()
    R, t = TRACK.poses(torch.float64)
    moving = replace(
        TRACK,
        trunk_R=(R @ poses[..., :3]).numpy(),
        trunk_t=((R @ poses[..., 3:])[..., 0] + t).numpy(),
    )
    subject = make_driven_subject(HEAD, moving)
    driver, steps = LiveDriver(AVATAR, subject), 30
    frame = checked_frame([0] * 52, [0.2, 0, 0] + [0] * 6, pose=True)
    first = driver.pose(frame, 0.0)
    for k in range(1, steps):
        last = driver.pose(frame, k / 5)
    # A pose that is held long enough stands as in a whole motion that is still.
    limits = subject.limits
    held = (last.rotation.double().expand(9, 3, 3), last.translation.double().expand(9, 3))
    given = (limits.rotation, moving.trunk(), subject.neck(), 25.0)
    still = following_trunk(*held, *given)[4].float()
    torch.testing.assert_close(last.trunk[0], still, atol=1e-5, rtol=0)
    torch.testing.assert_close(first.trunk[0], still, atol=1e-5, rtol=0)
    # A head that turns leaves the trunk behind at first.
    other = checked_frame([0] * 52, [-0.2, 0, 0] + [0] * 6, pose=True)
    turned = driver.pose(other, steps / 5 - 0.18).trunk
    later = [driver.pose(other, (steps + k) / 2).trunk for k in range(1, 20)]
    assert (turned - later[-1]).abs().max() > 0.02
    assert (later[-1] - later[-2]).abs().max() < 1e-4


def test_heads_of_other_shapes_are_refused():
    head = flame_like()
    subject = make_driven_subject(head, make_track(head))
    with pytest.raises(UserError, match="no expression shapes with ARKit's names"):
        LiveDriver(AVATAR, subject)


def test_images_equal_the_avatars_own():
    renderer = LiveRenderer(AVATAR, TRACK, 0, (1.0, 1.0, 1.0))
    posed = LiveDriver(AVATAR, SUBJECT).pose(checked_frame([0.4] * 52, [0.1] * 9, pose=True), 0.0)
    drawn = renderer.draw(posed)
    size = (TRACK.width, TRACK.height)
    color, _ = AVATAR.render_codes(*posed.moves(), TRACK.intrinsics(), *size, torch.ones(3))
    expected = (color[0] * 255).round().byte().numpy()
    np.testing.assert_array_equal(drawn, expected)
    assert drawn.std() > 10
    assert drawn.flags.c_contiguous


def test_sizes_follow_and_are_even():
    wide = replace(TRACK, img_size=np.array([48, 80]))
    renderer = LiveRenderer(AVATAR, wide, 63, (0.0, 0.0, 0.0))
    assert (renderer.width, renderer.height) == (104, 64)
    image = renderer.draw(resting(AVATAR, SUBJECT))
    assert image.shape == (64, 104, 3)
    # The camera scales with the image: twice the size shows the same.
    small, large = (LiveRenderer(AVATAR, TRACK, h, (0.0,) * 3) for h in (48, 96))
    halved = large.draw(resting(AVATAR, SUBJECT)).reshape(48, 2, 48, 2, 3).mean((1, 3))
    assert np.abs(halved - small.draw(resting(AVATAR, SUBJECT))).mean() < 6
    with pytest.raises(UserError, match="expected 16 to 4096 a side"):
        LiveRenderer(AVATAR, replace(TRACK, img_size=np.array([20, 4000])), 4096, (0.0,) * 3)


def test_a_motion_file_plays_over_and_over(tmp_path):
    table = write_table(tmp_path / "take.csv", [{"JawOpen": k / 70} for k in range(70)])

    async def case():
        source = MotionSource(table, "arkit", AVATAR, SUBJECT, InputOptions())
        source._fps = 2000  # quicker than a person moves
        seen = []
        async with source:
            while len(seen) < 40:
                seen.append(source.pose(await source.slot.take()).condition)
        return seen

    seen = asyncio.run(asyncio.wait_for(case(), 30))
    assert len({tuple(code[0].tolist()) for code in seen}) > 5
