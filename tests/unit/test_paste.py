"""Driven heads laid over images of the clip, from plan to video."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import drive_avatar as script
from headsplat.avatar_files import load_avatar
from headsplat.drive.motion import Motion
from headsplat.drive.paste_plan import REACH, closest_path, forth_and_back, plan_paste
from headsplat.frames.images import encode_png
from headsplat.frames.packs import FrameZipWriter
from headsplat.heads.model import HeadModel
from headsplat.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from headsplat.runtime.errors import UserError
from headsplat.track import read_track, write_track
from tests.unit.driven import SIZE, arkit_like, make_subject, make_track
from tests.unit.test_drive_avatar import random_images
from tests.unit.test_foreign_files import png

CLOTH = (20, 40, 160)


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    """A subject whose mesh follows the trunk at its lower end, and the images of its clip."""
    folder = tmp_path_factory.mktemp("ball")
    head = arkit_like()
    skinning, y = head.skinning.copy(), head.template[:, 1]
    skinning[:, 0] = np.clip((-0.07 - y) / 0.02, 0, 1)
    skinning[:, 1] = 1 - skinning[:, 0]
    subject = make_subject(
        folder / "avatar", folder / "head.npz", folder / "track.npz",
        replace(head, skinning=skinning),
    )  # fmt: skip
    avatar = load_avatar(subject.avatar, HeadModel.load(subject.head), "cpu")
    track = read_track(subject.track)
    frames = track.frames()
    color, alpha = avatar.render_codes(
        frames.code.vector, frames.rotation, frames.translation, frames.intrinsics, SIZE, SIZE,
        torch.zeros(3),
    )  # fmt: skip
    alpha = alpha[..., None].numpy()
    scene = np.full((SIZE, SIZE, 3), (200, 220, 180), float)
    scene[38:, 8:40] = CLOTH
    images = 255 * color.numpy() + (1 - alpha) * scene
    person = alpha[..., 0].copy()
    person[:, 38:, 8:40] = 1
    names = ("frames", "alpha", "parsing")
    packs = [FrameZipWriter(folder / f"{name}.zip", ".png") for name in names]
    for k, frame_id in enumerate(track.ids.tolist()):
        packs[0].add(frame_id, encode_png(images[k].round().astype(np.uint8)))
        packs[1].add(frame_id, encode_png((255 * person[k]).round().astype(np.uint8)))
        mask = (255 * (alpha[k, ..., 0] > 0.5)).astype(np.uint8)
        packs[2].add(frame_id, encode_png(mask), "_neckhead")
    for pack in packs:
        pack.__exit__()
    plate = np.full((SIZE, SIZE, 3), (200, 220, 180), np.uint8)
    (folder / "plate.png").write_bytes(encode_png(plate))
    return subject, images


def drive(subject, out, motion, *more, parsing=None) -> np.ndarray:
    folder = subject.head.parent
    zips = [f"--{n}={folder / n}.zip" for n in ("frames", "alpha")]
    script.main([
        *subject.arguments(), f"--motion={motion}", "--kind=track", f"--scratch={folder / 's'}",
        *zips, f"--parsing={parsing or folder / 'parsing.zip'}", f"--plate={folder / 'plate.png'}",
        f"--out={out}", *more,
    ])  # fmt: skip
    return random_images(out)


def test_ones_own_motion_restores_the_clip(ball, tmp_path):
    subject, images = ball
    video = drive(subject, tmp_path / "a.mp4", subject.track, "--body=paste").astype(float)
    off = np.abs(video - images).mean((1, 2, 3))
    unlike = np.abs(video - images[::-1]).mean((1, 2, 3))
    assert off.max() < 9  # the codec alone makes 7 on these small patches
    assert off.mean() < unlike.mean() / 2


def test_the_head_changes_and_clothes_and_room_do_not(ball, tmp_path):
    subject, images = ball
    head = HeadModel.load(subject.head)
    write_track(tmp_path / "other.npz", make_track(head, 12, seed=9))
    asked = ("--body=paste", "--face=absolute", "--head-motion=still")
    video = drive(subject, tmp_path / "a.mp4", tmp_path / "other.npz", *asked).astype(float)
    off = np.abs(video - images).mean(-1)
    assert off[:, 42:, 10:38].max() < 8
    assert off[:, :, :4].max() < 8
    assert off.max() > 30


def test_a_cut_out_person_stands_on_the_background(ball, tmp_path):
    subject, images = ball
    asked = ("--body=paste", "--background=#ff0000")
    video = drive(subject, tmp_path / "a.mp4", subject.track, *asked).astype(float)
    assert np.abs(video[:, 2:6, 2:6] - (255, 0, 0)).max() < 12
    assert np.abs(video[:, 42:46, 12:36] - CLOTH).max() < 25


def test_a_still_frame_lies_below_all_frames(ball, tmp_path):
    subject, images = ball
    head = HeadModel.load(subject.head)
    write_track(tmp_path / "other.npz", make_track(head, 12, seed=9))
    asked = ("--body=paste", "--still-frame=5", "--face=absolute", "--head-motion=still")
    video = drive(subject, tmp_path / "a.mp4", tmp_path / "other.npz", *asked).astype(float)
    off = np.abs(video - images[4]).mean(-1)
    assert len(video) == 12
    # The codec alone makes 7 on these small patches.
    assert off[:, 42:, 10:38].max() < 12
    assert off[:, :, :4].max() < 8
    # The face moves, and the whole of it is new.
    assert np.abs(np.diff(video, axis=0)).max() > 30


def test_a_still_frame_that_the_clip_lacks_is_one_line(ball, tmp_path):
    subject, _ = ball
    asked = ("--body=paste", "--still-frame=13")
    with pytest.raises(UserError, match="still_frame 13: the track has no such frame; its ids"):
        drive(subject, tmp_path / "a.mp4", subject.track, *asked)
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("fewer", "lacks frame 12 of the track"),
        ("larger", r"frame 1 of .*parsing\.zip: is 48 x 50 pixels, expected 48 x 48"),
        ("junk", r"frame 1 of .*parsing\.zip: cannot be read as an image"),
        ("bomb", r"frame 1 of .*parsing\.zip: is 20000 x 20000 pixels, more than 40 million"),
    ],
)
def test_another_clip_is_one_line(ball, tmp_path, change, expected):
    subject, _ = ball
    parsing = tmp_path / "parsing.zip"
    with FrameZipWriter(parsing, ".png") as pack:
        for frame_id in range(1, 12 if change == "fewer" else 13):
            high = SIZE + 2 * (change == "larger")
            data = encode_png(np.zeros((high, SIZE), np.uint8))
            pack.add(
                frame_id, {"junk": b"x", "bomb": png(20000, 20000)}.get(change, data), "_neckhead"
            )
    out = tmp_path / "a.mp4"
    with pytest.raises(UserError, match=expected) as error:
        drive(subject, out, subject.track, "--body=paste", parsing=parsing)
    assert "\n" not in str(error.value)
    assert not out.exists()


def test_a_clip_is_played_forth_and_back():
    assert forth_and_back(4, 9).tolist() == [0, 1, 2, 3, 2, 1, 0, 1, 2]
    assert forth_and_back(1, 3).tolist() == [0, 0, 0]


def yaws(angles) -> np.ndarray:
    vectors = torch.zeros(len(angles), 3, dtype=torch.float64)
    vectors[:, 1] = torch.as_tensor(angles)
    return matrix_from_axis_angle(vectors).numpy()


def test_the_path_through_the_clip_comes_close_and_has_no_jumps(monkeypatch):
    monkeypatch.setattr("headsplat.drive.paste_plan._WINDOW", 70)
    clip = 0.5 * np.sin(np.arange(120) / 19)
    wanted = 0.4 * np.sin(np.arange(200) / 23 + 1)
    rows = closest_path(yaws(clip), yaws(wanted))
    assert np.abs(np.diff(rows)).max() <= 2
    assert np.abs(clip[rows] - wanted).mean() < 0.06
    assert np.abs(clip[forth_and_back(120, 200)] - wanted).mean() > 0.2
    same = closest_path(yaws(clip), yaws(clip))
    np.testing.assert_allclose(same, np.arange(120), atol=1)


def test_the_head_turns_a_little_about_its_neck(ball):
    subject, _ = ball
    track = read_track(subject.track)
    rotation, translation = track.poses(torch.float64)
    far = rotation @ matrix_from_axis_angle(torch.tensor([0, 1.0, 0], dtype=torch.float64))
    codes = track.codes(torch.float64).vector
    pivot = torch.tensor([0, -0.09, -0.02], dtype=torch.float64)
    motion = Motion(torch.arange(12.0).double(), codes, far, translation)
    plan = plan_paste(track, motion, True, pivot)
    there = rotation[plan.rows]
    turn = axis_angle_from_matrix(there.mT @ plan.rotation)
    assert 0 < turn.abs().max() <= REACH + 1e-6
    neck = plan.rotation @ pivot + plan.translation
    torch.testing.assert_close(neck, there @ pivot + translation[plan.rows])
    # The trunk stays where the clip shows it.
    point = torch.tensor([0.1, -0.3, 0], dtype=torch.float64)
    moved = plan.trunk[..., :3] @ point + plan.trunk[..., 3]
    camera = (plan.rotation @ moved[..., None])[..., 0] + plan.translation
    torch.testing.assert_close(camera, there @ point + translation[plan.rows])
    still = plan_paste(track, motion, True, pivot, 5)
    assert still.rows.tolist() == [4] * 12
    assert (axis_angle_from_matrix(rotation[4].mT @ still.rotation).abs() < REACH + 1e-6).all()
    neck = still.rotation @ pivot + still.translation
    torch.testing.assert_close(neck, (rotation[4] @ pivot + translation[4]).expand(12, 3))
    dubbed = plan_paste(track, motion, False, pivot)
    assert torch.equal(dubbed.rotation, rotation)
    assert dubbed.trunk is None
