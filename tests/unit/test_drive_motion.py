"""Motions: resampling, driving limits, blinks, and tracks as motions."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from headsplat.drive.blinks import CLOSE, FIRST, HOLD, OPEN, blinks
from headsplat.drive.kinds import ABSOLUTE, RELATIVE, STILL, MotionOptions
from headsplat.drive.limits import TURN_LIMIT, DrivingLimits
from headsplat.drive.motion import Motion
from headsplat.drive.track_motion import read_track_motion
from headsplat.rotations import axis_angle_from_matrix, matrix_from_axis_angle, mean_rotation
from headsplat.runtime.errors import UserError
from headsplat.track import write_track
from tests.unit.driven import arkit_like, make_driven_subject, make_track


def turning(times: list[float], rate: float = 1.0) -> Motion:
    """One code that grows with time, and a head that turns about one axis at `rate` rad/s."""
    t = torch.tensor(times, dtype=torch.float64)
    axis = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    turns = matrix_from_axis_angle(rate * t[:, None] * axis)
    condition = torch.cat(
        [
            t[:, None],
            t.new_tensor((1.0, 0, 0, 0, 1, 0) * 3).expand(len(t), -1),
            t[:, None].expand(-1, 2),
        ],
        1,
    )
    condition[:, 1:7] = turns[:, :2].flatten(1)
    return Motion(t, condition, turns, t[:, None] * axis)


@pytest.mark.parametrize("times", [np.arange(61) / 60, [0.0, 0.013, 0.31, 0.32, 1.0]])
def test_resampling_goes_by_time(times):
    sampled, expected = turning(list(times)).resample(25), turning([k / 25 for k in range(26)])
    for name in ("times", "condition", "rotation", "translation"):
        torch.testing.assert_close(getattr(sampled, name), getattr(expected, name))


def test_resampling_at_the_same_rate_is_the_identity():
    motion = turning([k / 25 for k in range(9)])
    assert torch.allclose(motion.resample(25).condition, motion.condition, atol=1e-12, rtol=0)
    assert len(motion.resample(25).times) == 9


def test_motion_is_constant_before_the_first_sample():
    sampled = turning([0.2, 0.4]).resample(10)
    assert sampled.condition[:, 0].tolist() == pytest.approx([0.2, 0.2, 0.2, 0.3, 0.4])
    assert len(turning([0.0]).resample(25).times) == 1


@pytest.mark.parametrize("times", [[-2.0, -1.0], [0.0, 1e9], [0.0, 1e300]])
def test_motions_of_no_or_endless_length_are_one_line(times):
    with pytest.raises(UserError, match="the motion ends at .*; cut it") as caught:
        turning(times).resample(25)
    assert len(str(caught.value)) < 200


def test_motions_beyond_all_numbers_are_one_line():
    motion = turning([0.0, 1.0])
    with pytest.raises(UserError, match="the motion is not finite"):
        replace(motion, rotation=motion.rotation * 1e300).resample(25)


def test_shapes_and_order_are_checked():
    motion = turning([0.0, 1.0])
    with pytest.raises(ValueError, match=r"rotation: expected shape \[2 3 3\]"):
        replace(motion, rotation=motion.rotation[:1])
    with pytest.raises(ValueError, match="increasing"):
        replace(motion, times=motion.times.flip(0))


def test_mean_rotation_is_the_chordal_mean():
    vectors = torch.tensor([[0.3, 0, 0], [-0.3, 0, 0], [0, 0.2, 0], [0, -0.2, 0]]).double()
    base = matrix_from_axis_angle(torch.tensor([3.0, 0.2, 0.1]).double())
    torch.testing.assert_close(mean_rotation(base @ matrix_from_axis_angle(vectors)), base)


def test_codes_are_clamped_to_the_training_range():
    track = make_track(arkit_like())
    limits, codes = DrivingLimits.from_track(track), track.codes(torch.float64).vector
    assert torch.equal(limits.clamp_codes(codes), codes)
    held = limits.clamp_codes(codes + 100)
    torch.testing.assert_close(
        held, (codes.amax(0) + 0.5 * codes.std(0, correction=0)).expand_as(held)
    )


def test_turns_are_clamped_five_degrees_beyond_the_range():
    limits = DrivingLimits.from_track(make_track(arkit_like()))
    vectors = torch.tensor([[0.0, 1.2, 0.0], [0.0, 0.05, 0.0]], dtype=torch.float64)
    R, t = limits.poses_from_turns(
        matrix_from_axis_angle(vectors), torch.zeros(3).double(), ABSOLUTE
    )
    got = axis_angle_from_matrix(limits.rotation.T @ R)
    assert got[0, 1] == pytest.approx(limits.turns[1, 1].item())
    assert TURN_LIMIT < got[0, 1] < 0.6
    torch.testing.assert_close(got[1], vectors[1])
    torch.testing.assert_close(t, limits.translation.expand(2, 3))


def test_limits_ignore_frames_without_a_face():
    track = make_track(arkit_like())
    wild = replace(track, exp=np.where(np.arange(12)[:, None] == 3, 50.0, track.exp))
    unseen = replace(wild, interpolated=np.arange(12) == 3)
    assert (
        DrivingLimits.from_track(unseen).codes[1, 0]
        < 2
        < DrivingLimits.from_track(wild).codes[1, 0]
    )


def test_blinks_are_short_and_deterministic():
    times = torch.arange(60 * 100, dtype=torch.float64) / 100
    lids = blinks(times)
    assert torch.equal(lids, blinks(times))
    assert torch.equal(lids[:, 0], lids[:, 1])
    assert (lids.min(), lids.max()) == (0, 1)
    closed = lids[:, 0] > 0
    starts = (closed[1:] & ~closed[:-1]).sum()
    assert 15 <= starts <= 20
    assert closed.sum() / 100 / starts == pytest.approx(CLOSE + HOLD + OPEN, abs=0.02)
    assert lids[times < FIRST].max() == 0
    assert not blinks(times[:20]).any()


class TestAnotherTrack:
    head = arkit_like()
    own, other = make_track(head), make_track(head, 20, seed=7)

    def read(self, folder, track, head_motion=RELATIVE, face=RELATIVE):
        write_track(folder / "other.npz", track)
        return read_track_motion(
            folder / "other.npz",
            make_driven_subject(self.head, self.own),
            MotionOptions(head_motion, face=face),
        )

    @pytest.mark.parametrize("head_motion", [RELATIVE, ABSOLUTE])
    def test_own_track_gives_own_poses(self, tmp_path, head_motion):
        motion = self.read(tmp_path, self.own, head_motion).resample(25)
        rotation, translation = self.own.poses(torch.float64)
        torch.testing.assert_close(
            motion.condition, self.own.codes(torch.float64).vector, atol=2e-7, rtol=0
        )
        torch.testing.assert_close(motion.rotation, rotation, atol=1e-6, rtol=0)
        torch.testing.assert_close(motion.translation, translation, atol=1e-7, rtol=0)

    def test_absolute_codes_are_unchanged(self, tmp_path):
        motion = self.read(tmp_path, self.other, face=ABSOLUTE)
        torch.testing.assert_close(
            motion.condition, self.other.codes(torch.float64).vector, atol=2e-7, rtol=0
        )

    def test_relative_motion_is_about_the_mean_pose(self, tmp_path):
        limits = DrivingLimits.from_track(self.own)
        motion = self.read(tmp_path, self.other)
        rotation, translation = self.other.poses(torch.float64)
        expected = limits.rotation @ mean_rotation(rotation).T @ rotation
        free = (motion.rotation - expected).abs().amax((1, 2)) < 1e-6
        assert free.sum() > 10  # others were clamped
        moved = translation - translation.median(0).values
        torch.testing.assert_close(
            motion.translation, limits.translation + moved, atol=1e-6, rtol=0
        )

    def test_still_keeps_the_mean_pose(self, tmp_path):
        limits, motion = DrivingLimits.from_track(self.own), self.read(tmp_path, self.other, STILL)
        torch.testing.assert_close(motion.rotation, limits.rotation.expand(20, 3, 3))
        torch.testing.assert_close(motion.translation, limits.translation.expand(20, 3))

    def test_gaps_and_unordered_rows(self, tmp_path):
        keep = np.array([7, 0, 1, 2, 3, 4, 5, 8, 9, 10, 11])
        some = {
            name: getattr(self.own, name)[keep]
            for name in (
                "ids", "status", "confidence", "interpolated", "exp", "jaw", "eyes", "eyelids",
                "R", "t", "head_R", "head_t", "residual_px", "residual_iod", "residual_group",
            )
        }  # fmt: skip
        motion = self.read(tmp_path, replace(self.own, **some), ABSOLUTE, ABSOLUTE).resample(25)
        codes = self.own.codes(torch.float64).vector
        torch.testing.assert_close(motion.condition[[5, 7, 8]], codes[[5, 7, 8]], atol=2e-7, rtol=0)
        torch.testing.assert_close(motion.condition[6, 0], (codes[5, 0] + codes[7, 0]) / 2)

    @pytest.mark.parametrize("change", [{"head_version": "2"}, {"head_name": "flame"}])
    def test_another_head_is_one_line(self, tmp_path, change):
        with pytest.raises(UserError, match="the avatar's is ict 1; track that clip with the same"):
            self.read(tmp_path, replace(self.other, **change))

    def test_a_duplicate_frame_is_one_line(self, tmp_path):
        with pytest.raises(UserError, match="a frame id occurs twice"):
            self.read(tmp_path, replace(self.other, ids=np.r_[1, np.arange(1, 20)]))

    def test_no_track_is_one_line(self, tmp_path):
        (tmp_path / "x.npz").write_text("")
        with pytest.raises(UserError, match=r"x\.npz: cannot be read"):
            read_track_motion(
                tmp_path / "x.npz", make_driven_subject(self.head, self.own), MotionOptions()
            )
