"""Transfer between neutral faces: the built-in performance on several people, with biased codes."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from headsplat.drive.face_clip import FaceClip
from headsplat.drive.face_mesh import FaceMesh
from headsplat.drive.kinds import ABSOLUTE, SUBJECT, MotionOptions
from headsplat.drive.neutral import neutral_face
from headsplat.drive.transfer import LARGEST, transfer_face
from headsplat.frame_code import FrameCode
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import (
    axis_angle_from_matrix,
    matrix_from_6d,
    matrix_from_axis_angle,
    matrix_to_6d,
)
from headsplat.runtime.errors import UserError
from headsplat.synthetic.head.head import procedural_head
from headsplat.synthetic.parameters import animate, sample_identity
from headsplat.synthetic.performance import perform
from headsplat.synthetic.speech import compose_speech
from tests.unit.driven import arkit_like, make_track

FPS, SECONDS = 25, 12.0
HEAD = procedural_head()
GEOMETRY = HeadGeometry(HEAD, dtype=torch.float64)
SHAPES = HEAD.expression_names
PARAMETERS = animate(perform(compose_speech(SECONDS), FPS), HEAD, np.zeros(3), np.zeros(3))
BIAS = torch.from_numpy(np.random.default_rng(5).uniform(0.05, 0.2, len(SHAPES)))
TURN = torch.tensor([0.05, 0.01, -0.01], dtype=torch.float64)
LID = 0.15


def performance() -> torch.Tensor:
    """(N, C) codes of the built-in clip with the noise of a tracker."""
    part = {k: torch.from_numpy(getattr(PARAMETERS, k)).double() for k in ("exp", "jaw", "eyes")}
    joints = torch.cat([part["jaw"][:, None], part["eyes"].unflatten(1, (2, 3))], 1)
    joints = joints + 1e-3 * torch.from_numpy(np.random.default_rng(0).normal(size=joints.shape))
    six = matrix_to_6d(matrix_from_axis_angle(joints))
    lids = torch.from_numpy(PARAMETERS.eyelids).double()
    noise = 0.005 * torch.from_numpy(np.random.default_rng(1).normal(size=part["exp"].shape))
    return FrameCode.pack(part["exp"] + noise.abs(), six[:, 0], six[:, 1:].flatten(1), lids).vector


CODES = performance()


def person(codes: torch.Tensor = CODES, seed: int = 23) -> FaceClip:
    times = torch.arange(len(codes), dtype=torch.float64) / FPS
    mesh = FaceMesh(GEOMETRY, torch.from_numpy(sample_identity(HEAD, seed)))
    return FaceClip.from_codes(f"person {seed}", codes, times, mesh)


def biased(codes: torch.Tensor) -> torch.Tensor:
    """The codes that a tracker gives a person whose form it explains by expressions."""
    code = FrameCode(codes)
    jaw = matrix_from_6d(code.jaw) @ matrix_from_axis_angle(TURN)
    lids = LID + (1 - LID) * code.eyelids
    return code.replace(exp=code.exp + BIAS, jaw=matrix_to_6d(jaw), eyelids=lids).vector


def shaped(codes: torch.Tensor, **weights: float) -> torch.Tensor:
    return FrameCode(codes).with_shapes(HEAD, **weights).vector


def apart(clip: FaceClip, a: torch.Tensor, b: torch.Tensor) -> float:
    """Root mean square distance of lips and brows of two codes on a person, mm."""
    first, second = (torch.cat(list(clip.mesh.points(code[None]))) for code in (a, b))
    return float((first - second).square().sum(-1).mean().sqrt() * 1e3)


def test_a_subject_driven_by_its_own_clip_keeps_its_codes_bit_for_bit():
    assert torch.equal(transfer_face(person(), person(), MotionOptions()), CODES)
    scaled = transfer_face(person(), person(), MotionOptions(amplitude=SUBJECT))
    assert torch.equal(scaled, CODES)


@pytest.mark.parametrize("to_the_biased", [False, True])
def test_an_identity_bias_of_all_codes_is_removed(to_the_biased):
    here, there = (biased(CODES), CODES) if not to_the_biased else (CODES, biased(CODES))
    driver, subject = person(here), person(there)
    got = FrameCode(transfer_face(driver, subject, MotionOptions()))
    wanted, taken = FrameCode(there), FrameCode(here)
    assert (taken.exp - wanted.exp).abs().max() > 0.19
    assert (got.exp - wanted.exp).abs().max() < 0.03
    left = axis_angle_from_matrix(matrix_from_6d(got.jaw) @ matrix_from_6d(wanted.jaw).mT)
    assert left.norm(dim=1).median() < 0.002 < TURN.norm() / 20
    assert (got.eyelids - wanted.eyelids).abs().max() < 0.05
    assert torch.equal(got.eyes, taken.eyes)
    assert torch.equal(transfer_face(driver, subject, MotionOptions(face=ABSOLUTE)), here)


def test_another_person_gets_their_own_neutral_closed_lips_and_closed_eyes():
    driver, subject = person(biased(CODES), seed=3), person(seed=8)
    absolute = transfer_face(driver, subject, MotionOptions(face=ABSOLUTE))
    codes = transfer_face(driver, subject, MotionOptions())
    rest = neutral_face(subject)
    assert apart(subject, neutral_face(replace(subject, codes=absolute)), rest) > 0.7
    assert apart(subject, neutral_face(replace(subject, codes=codes)), rest) < 0.25

    def lips(clip, codes):
        return (clip.mesh.opening(codes) - clip.mesh.opening(neutral_face(clip)[None])) * 1e3

    wide = lips(driver, driver.codes)
    closed = wide < 0.5
    assert closed.sum() > 20
    excess = lips(subject, codes) - wide.clamp(min=0)
    assert excess[closed].max() < 0.1
    assert np.corrcoef(lips(subject, codes), wide)[0, 1] > 0.99

    eyes, own = subject.mesh.eyes(codes) * 1e3, subject.mesh.eyes(subject.codes) * 1e3
    blink = (FrameCode(CODES).eyelids > 0.97).all(1)
    assert blink.sum() >= 3
    assert (eyes - own)[blink].abs().max() < 0.4
    assert (eyes.median(0).values - own.median(0).values).abs().max() < 0.3
    left_open = (subject.mesh.eyes(FrameCode(codes).replace(eyelids=0.0).vector) * 1e3)[blink]
    assert left_open.min() > 4


def test_lips_that_the_codes_alone_would_part_are_closed():
    # The driver's neutral pulls the lower lip down, and their closed lips are without this code.
    driver = person(shaped(CODES, mouthLowerDown_L=0.3, mouthLowerDown_R=0.3))
    pressed = shaped(driver.codes[:40], mouthLowerDown_L=0.0, mouthLowerDown_R=0.0)
    driver = person(torch.cat([driver.codes, pressed]))
    subject = person(seed=8)
    got = transfer_face(driver, subject, MotionOptions())
    opening = (subject.mesh.opening(got) - subject.mesh.opening(neutral_face(subject)[None])) * 1e3
    closed = driver.mesh.opening(driver.codes) <= driver.mesh.opening(neutral_face(driver)[None])
    assert closed[-40:].any()
    assert opening[closed].max() < 0.05


def test_an_expression_in_half_of_the_clip_and_one_that_is_held_are_not_the_neutral_face():
    smile = shaped(CODES[:150], mouthSmile_L=0.7, mouthSmile_R=0.7, browInnerUp=0.6)
    pulled = dict.fromkeys(("mouthPucker", "mouthLeft", "browOuterUp_L", "browOuterUp_R"), 0.9)
    held = shaped(CODES[:1].expand(20, -1), **pulled)
    assert apart(person(), held[0], CODES[0]) > 3
    rest = neutral_face(person(torch.cat([smile, CODES[150:], held])))
    assert FrameCode(rest).exp[SHAPES.index("mouthPucker")] < 0.2
    assert apart(person(), rest, neutral_face(person())) < 0.7


def test_named_frames():
    codes = torch.cat([CODES, shaped(CODES[:1], cheekPuff=0.5)])
    named = neutral_face(person(codes), (len(codes),))
    torch.testing.assert_close(named, codes[-1])
    with pytest.raises(UserError, match="person 23: has no frame 302 for the neutral face; its fr"):
        neutral_face(person(codes), (1, 302))


@pytest.mark.parametrize("opened", [0.0, 0.12])
def test_without_a_relaxed_closed_mouth_the_lowest_openings_count(opened, caplog):
    jaw = matrix_from_6d(FrameCode(CODES).jaw)
    jaw = matrix_from_axis_angle(torch.tensor([opened, 0, 0]).double()) @ jaw
    clip = person(FrameCode(CODES).replace(jaw=matrix_to_6d(jaw)).vector)
    with caplog.at_level(logging.INFO, "headsplat"):
        rest = neutral_face(clip)
    lines = [line for line in caplog.messages if "no relaxed face with closed lips" in line]
    assert len(lines) == (1 if opened else 0)
    share = (clip.mesh.opening(clip.codes) < clip.mesh.opening(rest[None])).double().mean()
    assert share < 0.2


def test_the_amplitude_of_the_subject():
    rest = neutral_face(person())
    factors = {}
    for size in (0.6, 0.25):
        code, still = FrameCode(CODES), FrameCode(rest)
        quiet = person(code.replace(exp=still.exp + size * (code.exp - still.exp)).vector, seed=8)
        got = FrameCode(transfer_face(quiet, person(), MotionOptions(amplitude=SUBJECT)))
        column = SHAPES.index("mouthFunnel")
        deviation = [c.exp[:, column].amax() - still.exp[column] for c in (got, code)]
        factors[size] = float(deviation[0] / deviation[1])
    assert factors[0.6] == pytest.approx(1, abs=0.15)
    assert factors[0.25] == pytest.approx(0.25 * LARGEST, abs=0.1)


def test_only_detected_frames_seen_from_the_front_are_usable():
    track = make_track(arkit_like(), 40)
    away = matrix_from_axis_angle(torch.tensor([0.0, 0.9, 0.0])).numpy()
    track = replace(
        track, R=np.where(np.arange(40)[:, None, None] < 10, track.R @ away, track.R),
        interpolated=np.arange(40) > 35,
    )  # fmt: skip
    geometry = HeadGeometry(arkit_like(), dtype=torch.float64)
    usable = FaceClip.from_track("t", track, geometry).usable
    assert not usable[:10].any()
    assert not usable[36:].any()
    assert usable[10:36].sum() > 15
    unseen = replace(track, interpolated=np.ones(40, bool))
    assert FaceClip.from_track("t", unseen, geometry).usable[10:].sum() > 20


@pytest.mark.parametrize("count", [1, 2, 12])
def test_short_clips_of_heads_without_landmarks_of_the_lips(count):
    geometry = HeadGeometry(arkit_like(), dtype=torch.float64)
    driver, subject = (
        FaceClip.from_track("t", make_track(arkit_like(), n, seed=n), geometry) for n in (count, 20)
    )
    got = FrameCode(transfer_face(driver, subject, MotionOptions(amplitude=SUBJECT)))
    assert got.vector.shape == driver.codes.shape
    assert torch.isfinite(got.vector).all()
    assert 0 <= got.eyelids.min() <= got.eyelids.max() <= 1
