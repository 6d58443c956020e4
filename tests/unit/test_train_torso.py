"""Training of the torso: its start, equal heads, what the trunk is worth, resuming, metrics."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import evaluate_avatar
import train_avatar
from headsplat.avatar_files import load_avatar
from headsplat.camera import project
from headsplat.heads.bust import Bust
from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_json, read_npz
from headsplat.runtime.stopping import SIGNALS
from headsplat.track import read_track, write_track
from headsplat.train import torso as module
from headsplat.train.dataset import ImageReader, PersonReader, ResidentImages
from headsplat.train.memory import training_mib
from headsplat.train.options import train_options
from headsplat.train.prepare import TrainingFrames, empty_avatar, training_frames
from headsplat.train.torso_start import torso_points
from headsplat.train.trainer import Trainer
from tests.unit.tiny_clip import TinyClip, make_clip

SMALL = ["--gaussians", "400", "--bases", "3", "--batch", "2", "--steps", "30", "--device", "cpu"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> TinyClip:
    return make_clip(tmp_path_factory.mktemp("clip"), body=True)


@pytest.fixture(autouse=True)
def _handlers():
    """Restore signal handlers, which a stopped stage leaves installed."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def train(clip: TinyClip, folder: Path, body: str = "torso") -> Path:
    out = folder / "model"
    arguments = [*clip.arguments(), "--scratch", str(folder / "scratch"), "--out", str(out)]
    train_avatar.main([*arguments, *SMALL, "--body", body])
    return out


@pytest.fixture(scope="module")
def straight(clip, tmp_path_factory) -> Path:
    return train(clip, tmp_path_factory.mktemp("straight"))


def reader_of(clip: TinyClip) -> ImageReader:
    return ImageReader([clip.frames], [clip.alpha], [clip.parsing], 48, 48)


def frames_of(clip: TinyClip, ids: list[int]) -> TrainingFrames:
    head = HeadModel.load(clip.head)
    track = read_track(clip.track, head)
    options = train_options(gaussians=200)
    avatar = empty_avatar(head, track, track.rows(ids), options, CPU)
    return training_frames(avatar, track, ids)


def test_the_images_of_a_person_have_what_the_head_mask_cuts_away(clip):
    reader = reader_of(clip)
    head, whole, person = reader.read(3), reader.read_person(3), PersonReader(reader).read(3)
    assert np.array_equal(whole[..., :5], head)
    assert np.array_equal(person[..., :3], head[..., :3])
    assert np.array_equal(person[..., 3], whole[..., 5])
    assert np.array_equal(person[..., 4], whole[..., 5] - head[..., 3])
    assert (person[44:, 10:38, 4] == 255).all()
    assert person[:40, :, 4].max() == 0


def test_points_start_on_what_the_images_show_below_the_head(clip):
    ids = list(range(1, 13))
    frames = frames_of(clip, ids)
    images = ResidentImages(PersonReader(reader_of(clip)), ids, CPU)
    # A wall through the trunk's origin, narrower than the body in the images.
    wall = np.array([[-0.05, -0.3, 0], [0.05, -0.3, 0], [0.05, 0.3, 0], [-0.05, 0.3, 0]])
    bust = Bust(wall.astype(np.float32), np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    points = torso_points(bust, frames, frames.trunk, images, 80)
    assert 40 < len(points.places) <= 80
    # Beyond the wall's edge its depth goes on.
    assert points.places[:, 0].abs().max() > 0.1
    torch.testing.assert_close(points.places[:, 2], torch.zeros(len(points.places)))
    turn, shift = torch.diag(torch.tensor([1.0, -1, -1])), frames.translation[0]
    pixels = project(points.places[None], turn[None], shift[None], frames.intrinsics)[0, :, :2]
    column, row = pixels.floor().long().T
    assert row.min() >= 39, "a little beneath the head's end"
    seen = images.planes[0, row, column, :3].float() / 255
    assert (seen - points.colors).abs().median() < 0.02
    normal = torch.tensor([0.0, 0, 1]).expand_as(points.normals)
    torch.testing.assert_close(points.normals, normal)


def test_a_person_without_a_body_is_one_line(tmp_path):
    clip = make_clip(tmp_path)
    with pytest.raises(UserError, match=r"train\.body=torso: the mattes show nothing .* none$"):
        train(clip, tmp_path)


def test_the_estimated_memory_counts_the_torso(clip):
    head = HeadModel.load(clip.head)
    track = read_track(clip.track, head)
    options = train_options(gaussians=4000, batch=64, body="torso")
    avatar = empty_avatar(head, track, track.rows([1, 2]), options, CPU)

    def mib(body: str, lpips: bool) -> float:
        return training_mib(avatar, replace(options, body=body), 12, (48, 48), lpips, 100)

    # Half as many Gaussians again, of 1500 bytes and more in each of 64 images.
    assert mib("torso", False) - mib("none", False) > 2000 * 64 * 1500 / 2**20
    # Where LPIPS takes more, the torso, which is trained without it, adds nothing.
    large = replace(options, batch=4)
    with_lpips = [
        training_mib(avatar, replace(large, body=b), 12, (512, 512), True, 100)
        for b in ("torso", "none")
    ]
    assert with_lpips[0] == with_lpips[1]


@pytest.fixture(scope="module")
def head_alone(clip, tmp_path_factory) -> Path:
    return train(clip, tmp_path_factory.mktemp("head"), "none")


def test_the_head_is_that_of_a_training_without_a_torso(straight, head_alone):
    alone = read_npz(head_alone / "avatar.npz")
    both = read_npz(straight / "avatar.npz")
    assert {name for name in both if not name.startswith("torso/")} == set(alone)
    for name, value in alone.items():
        np.testing.assert_array_equal(both[name], value, err_msg=name)
    facts = read_json(straight / "training.json")["torso"]
    assert facts["gaussians"] == len(both["torso/rest"]) > 50
    assert facts["steps"] == 12
    assert "torso" not in read_json(head_alone / "training.json")


def metrics_of(clip: TinyClip, model: Path, folder: Path) -> dict:
    out = {"metrics": "metrics.json", "evaluation": "evaluation.npz", "video-out": "test.mp4"}
    files = [part for flag, name in out.items() for part in (f"--{flag}", str(folder / name))]
    evaluate_avatar.main([
        *clip.arguments(), "--avatar", str(model), "--assets", str(folder), *files,
        "--scratch", str(folder / "scratch"),
    ])  # fmt: skip
    return read_json(folder / "metrics.json")


def test_metrics_of_the_whole_person(clip, straight, head_alone, tmp_path):
    whole = metrics_of(clip, straight, tmp_path)
    (tmp_path / "none").mkdir()
    head = metrics_of(clip, head_alone, tmp_path / "none")
    assert whole["psnr_head"] == head["psnr_head"]
    assert whole["psnr_edge"] == head["psnr_edge"]
    assert "psnr_collar" not in head
    assert whole["psnr_collar"] > 12
    # The report's images show the person.
    sheet = read_npz(tmp_path / "evaluation.npz")
    assert sheet["sheet_ground_truth"][:, 44:, 20:30].max() > 150
    assert sheet["sheet_render"][:, 44:, 20:30].max() > 120


def test_the_trunk_in_the_track_is_what_the_torso_follows(clip, straight, tmp_path):
    track = replace(read_track(clip.track), trunk_R=None, trunk_t=None)
    stiff = replace(clip, track=tmp_path / "stiff.npz")
    write_track(stiff.track, track)
    out = train(stiff, tmp_path)
    losses = [read_json(folder / "training.json")["torso"]["loss"] for folder in (straight, out)]
    assert losses[0] < losses[1]
    assert load_avatar(out, device="cpu").torso.count > 50


def test_a_resumed_torso_is_bit_equal(clip, straight, tmp_path, monkeypatch, caplog):
    plain = Trainer.step

    def interrupted(self, number):
        plain(self, number)
        if isinstance(self._step, module.TorsoStep) and number == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "step", interrupted)
        with pytest.raises(SystemExit) as stop:
            train(clip, tmp_path)
    assert stop.value.code == 143
    assert not (tmp_path / "model").exists()
    with caplog.at_level("INFO"):
        out = train(clip, tmp_path)
    assert "continuing at step 30 of 30" in caplog.text
    assert "continuing at step 6 of 12" in caplog.text
    assert (out / "avatar.npz").read_bytes() == (straight / "avatar.npz").read_bytes()
    assert not list((tmp_path / "scratch").rglob("state.pt"))
