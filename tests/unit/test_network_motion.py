"""Motions of speech networks: head, gaze and lids come from the subject's own clip."""

from dataclasses import replace

import numpy as np
import torch

from headsplat.drive.kinds import ABSOLUTE, STILL, MotionOptions
from headsplat.drive.motion import Motion
from headsplat.frame_code import FrameCode
from headsplat.speech.network_motion import with_clip_motion
from headsplat.speech.voices import SpeechOptions
from tests.unit.driven import arkit_like, make_driven_subject, make_track

HEAD = arkit_like()
SECONDS, FRAMES = 4.0, 100
SOUND = np.random.default_rng(2).normal(size=int(SECONDS * 16_000)).astype(np.float32) * 0.1


def moving_clip():
    """A smooth clip of 14 s: lids that blink and a head that turns."""
    track = make_track(HEAD, count=350)
    time = np.arange(350) / 25
    lids = np.repeat(np.clip(np.sin(2 * np.pi * time / 3) * 4 - 3, 0, 1)[:, None], 2, 1)
    t = track.t[:1] + np.stack([0.01 * np.sin(time), 0 * time, 0 * time], 1)
    R = np.repeat(track.R[:1], 350, 0)
    still = np.repeat(track.eyes[:1], 350, 0)
    return replace(track, eyelids=lids, t=t, R=R, eyes=still)


def of_a_network() -> Motion:
    """4 s at 30 fps: a changing expression under a still head with open eyes."""
    count = int(SECONDS * 30) + 1
    neutral = FrameCode.neutral(HEAD).vector.double().expand(count, -1).clone()
    neutral[:, 0] = torch.linspace(0, 1, count)
    pose = torch.eye(3, dtype=torch.float64).expand(count, 3, 3), torch.ones(count, 3).double()
    return Motion(torch.arange(count).double() / 30, neutral, *pose)


def spoken(head_motion: str = ABSOLUTE, head: bool = True) -> Motion:
    track = moving_clip()
    options = SpeechOptions({}, MotionOptions(head_motion))
    subject = make_driven_subject(HEAD, track)
    return with_clip_motion(of_a_network(), SOUND, subject, track, options, head)


def test_lips_are_the_networks_and_the_rest_is_the_clips():
    motion, track = spoken(), moving_clip()
    assert len(motion.times) == FRAMES + 1
    np.testing.assert_allclose(motion.condition[:, 0], motion.times / SECONDS, atol=1e-9)
    lids = FrameCode(motion.condition).eyelids
    assert lids.max() > 0.9
    assert lids.diff(dim=0).abs().max() <= np.abs(np.diff(track.eyelids, axis=0)).max() + 1e-6
    assert motion.translation[:, 0].std() > 1e-3
    low, high = track.t.min(0) - 1e-6, track.t.max(0) + 1e-6
    assert ((motion.translation.numpy() >= low) & (motion.translation.numpy() <= high)).all()


def test_a_network_that_turns_the_head_keeps_its_pose():
    theirs = of_a_network().resample(25)
    motion = spoken(head=False)
    assert torch.equal(motion.rotation, theirs.rotation)
    assert torch.equal(motion.translation, theirs.translation)
    assert FrameCode(motion.condition).eyelids.max() > 0.9


def test_a_still_head_stays_still():
    motion = spoken(STILL)
    torch.testing.assert_close(motion.translation, motion.translation[:1].expand(FRAMES + 1, 3))
