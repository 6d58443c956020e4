"""Training: losses, plan, images, bit-equal resuming, clean stops."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from headsplat_workflow.codehash import code_version

import train_avatar as script
from headsplat.avatar_files import load_avatar
from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_json
from headsplat.runtime.stopping import SIGNALS, Stopped
from headsplat.track import read_track
from headsplat.train import run, step, trainer
from headsplat.train.checkpoint import State, load_state, save_state
from headsplat.train.dataset import ImageReader, open_images
from headsplat.train.initialize import CONDITION_FLOOR, POSE_NOISE, noise_sizes
from headsplat.train.losses import composite
from headsplat.train.lpips import BACKBONE_FILE, LINEAR_FILE, Lpips, load_lpips
from headsplat.train.options import TrainOptions
from headsplat.train.plan import make_plan
from tests.unit.tiny_clip import make_clip

SMALL = ["--gaussians", "400", "--bases", "4", "--batch", "2", "--steps", "40", "--device", "cpu"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip"))


def train(clip, folder: Path, *more: str) -> Path:
    out = folder / "model"
    arguments = [*clip.arguments(), "--scratch", str(folder / "scratch"), "--out", str(out)]
    script.main([*arguments, *SMALL, *more])
    return out


@pytest.fixture(scope="module")
def straight(clip, tmp_path_factory):
    """Output of an uninterrupted run."""
    return train(clip, tmp_path_factory.mktemp("straight"))


def held_out_error(clip, folder: Path) -> tuple[float, float]:
    """Mean squared error of the held-out frames: of the avatar, and of plain black."""
    head = HeadModel.load(clip.head)
    track = read_track(clip.track, head)
    avatar = load_avatar(folder, head, "cpu")
    ids = read_json(clip.split)["test"]
    reader = ImageReader([clip.frames], [clip.alpha], [clip.parsing], track.width, track.height)
    planes = torch.from_numpy(np.stack([reader.read(i) for i in ids])).float() / 255
    ground_truth = composite(planes[..., :3], planes[..., 3], torch.zeros(len(ids), 3))
    color = avatar.render(track[track.rows(ids)], (0, 0, 0))
    assert color.shape == ground_truth.shape
    return (color - ground_truth).square().mean().item(), ground_truth.square().mean().item()


def test_composite_over_a_plain_color():
    image, matte = torch.rand(1, 2, 2, 3), torch.tensor([[[0.0, 1.0], [0.25, 0.5]]])
    out = composite(image, matte, torch.tensor([[0.2, 0.4, 0.6]]))
    torch.testing.assert_close(out[0, 0, 0], torch.tensor([0.2, 0.4, 0.6]))
    torch.testing.assert_close(out[0, 0, 1], image[0, 0, 1])
    torch.testing.assert_close(
        out[0, 1, 0], 0.25 * image[0, 1, 0] + 0.75 * torch.tensor([0.2, 0.4, 0.6])
    )


def test_plan_is_balanced_and_deterministic():
    options = TrainOptions(steps=30, batch=4, seed=5, code_noise=0.5)
    plan = make_plan(10, options, 25, (48, 48), 5, 0.1)
    counts = torch.bincount(plan.rows.flatten(), minlength=10)
    assert counts.tolist() == [12] * 10
    assert sorted(plan.rows.flatten()[:10].tolist()) == list(range(10))
    again = make_plan(10, options, 25, (48, 48), 5, 0.1)
    assert torch.equal(plan.backgrounds, again.backgrounds)
    assert torch.equal(plan.code_noise, again.code_noise)
    assert plan.code_noise.std().item() == pytest.approx(0.5, rel=0.05)
    assert plan.rates[0] == pytest.approx(0.2, rel=0.01)
    assert max(plan.rates) <= 1
    assert plan.rates[-1] == pytest.approx(0.1, abs=0.01)


def test_noise_has_the_size_of_the_clips_own_motion():
    generator = torch.Generator().manual_seed(0)
    still, small, large = torch.zeros(400, 1), 0.01, 0.4
    moving = torch.randn(400, 2, generator=generator) * torch.tensor([small, large])
    pose = torch.randn(400, 1, generator=generator)
    condition = torch.cat([still, moving], 1)
    sizes = noise_sizes(condition, pose)
    deviations = condition.std(0, correction=0).clamp_min(CONDITION_FLOOR)
    noise = sizes[:3] * deviations
    torch.testing.assert_close(noise, condition.std(0, correction=0))
    assert noise[0] == 0
    assert sizes[3].item() == pytest.approx(POSE_NOISE)


def test_streamed_images_equal_resident_ones(clip, caplog):
    reader = ImageReader([clip.frames], [clip.alpha], [clip.parsing], 48, 48)
    ids = list(range(1, 13))
    plan = make_plan(len(ids), TrainOptions(steps=9, batch=2), 25, (48, 48), 5, 0.1).rows
    device = torch.device("cpu")
    with caplog.at_level("INFO"):
        resident = open_images(reader, ids, plan, device, 100, 100)
        streamed = open_images(reader, ids, plan, device, 0, 0)
    estimates = [record.message for record in caplog.records if "MiB" in record.message]
    assert [text.split(": ")[-1] for text in estimates] == ["resident", "streamed"]
    for number, rows in enumerate(plan):
        seen = []
        for images in (resident, streamed):
            images.prepare(number)
            seen.append(images.planes[images.places(rows)])
        assert torch.equal(*seen)
    assert torch.equal(resident.rows([3, 1]), streamed.rows([3, 1]))
    assert len(streamed._cache) <= 10
    streamed.close()
    reader.close()


def test_image_of_another_size_is_named(clip):
    reader = ImageReader([clip.frames], [clip.alpha], [clip.parsing], 64, 64)
    with pytest.raises(UserError, match=r"frame 3: .*64x64"):
        reader.read(3)


def test_training_fits_held_out_frames(clip, straight):
    error, black = held_out_error(clip, straight)
    assert error < black / 6
    facts = read_json(straight / "training.json")
    assert facts["images"] == 80
    assert facts["frames"] == 10
    assert facts["gaussians"] == 400
    assert facts["losses"]["total"][0][1] > facts["losses"]["total"][-1][1]
    assert facts["losses"]["total"][-1][0] == 40


def interrupted_at(step: int):
    """A training step that sends SIGTERM to this process after a given step."""
    plain = trainer.Trainer.step

    def interrupted(self, number):
        plain(self, number)
        if number == step:
            os.kill(os.getpid(), signal.SIGTERM)

    return interrupted


@pytest.fixture(autouse=True)
def _handlers():
    """Restore signal handlers, which a stopped stage leaves installed."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def published(folder: Path) -> dict[str, Any]:
    """Published files of a run as bytes, JSON without times."""
    times = ("seconds", "images_per_second")

    def untimed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: untimed(inner) for key, inner in value.items() if key not in times}
        return value

    return {
        path.name: untimed(read_json(path)) if path.suffix == ".json" else path.read_bytes()
        for path in sorted(folder.iterdir())
    }


def steps_saved(scratch: Path) -> int:
    """Steps of the saved state of a run, 0 without one."""
    states = list(scratch.glob("*/state.pt"))
    return torch.load(states[0], weights_only=True)["step"] if states else 0


def test_resumed_training_is_bit_equal(clip, straight, tmp_path, monkeypatch):
    plain = trainer.Trainer.step
    monkeypatch.setattr(trainer.Trainer, "step", interrupted_at(17))
    with pytest.raises(SystemExit) as stop:
        train(clip, tmp_path)
    assert stop.value.code == 143
    assert not (tmp_path / "model").exists()
    (state,) = (tmp_path / "scratch").glob("*/state.pt")
    assert torch.load(state, weights_only=True)["step"] == 18
    monkeypatch.setattr(trainer.Trainer, "step", plain)
    assert published(train(clip, tmp_path)) == published(straight)
    assert not list((tmp_path / "scratch").glob("*/state.pt")), "state is cleared at the end"


def test_checkpoint_interval_follows_the_cost(clip, straight, tmp_path, monkeypatch):
    clock, saved = [0.0], []
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    plain, save = trainer.Trainer.step, trainer.save_state

    def stepping(self, number):
        plain(self, number)
        clock[0] += 1 / 8

    def saving(folder, state):
        save(folder, state)
        saved.append((state.step, state.seconds))
        clock[0] += 1 / 32

    monkeypatch.setattr(trainer.Trainer, "step", stepping)
    monkeypatch.setattr(trainer, "save_state", saving)
    out = train(clip, tmp_path)
    # First after more than a second, then after more than 50 times what the last one took.
    assert saved == [(9, 9 / 8), (22, 22 / 8 + 1 / 32), (35, 35 / 8 + 2 / 32)]
    assert read_json(out / "training.json")["seconds"] == round(40 / 8 + 3 / 32, 2)
    assert published(out) == published(straight)


def test_checkpoint_interval_is_bounded():
    assert [trainer.checkpoint_interval(cost) for cost in (0.0, 0.1, 3.0)] == [1.0, 5.0, 20.0]


# Saves often and steps slowly, so that the kill hits a running process.
KILLABLE = """
import sys, time
import train_avatar
from headsplat.train import trainer
trainer.SAVE_EVERY = (0.2, 0.2)
step = trainer.Trainer.step
trainer.Trainer.step = lambda self, number: (time.sleep(0.03), step(self, number))
train_avatar.main(sys.argv[1:])
"""


def test_a_killed_run_resumes_to_equal_bytes(clip, tmp_path):
    model = ("--model", "flashavatar", "--uv-size", "24")
    arguments = [*clip.arguments(), "--scratch", str(tmp_path / "s"), "--out", str(tmp_path / "m")]
    command = [sys.executable, "-c", KILLABLE, *arguments, *SMALL, *model]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment) as process:
        end = time.monotonic() + 60
        while not steps_saved(tmp_path / "s"):
            assert time.monotonic() < end
            time.sleep(0.01)
        process.kill()
    assert 0 < steps_saved(tmp_path / "s") < 40
    assert not (tmp_path / "m").exists()
    script.main([*arguments, *SMALL, *model])
    assert published(tmp_path / "m") == published(train(clip, tmp_path / "straight", *model))


def test_a_damaged_state_starts_over_and_says_why(clip, straight, tmp_path, caplog, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(trainer.Trainer, "step", interrupted_at(17))
        with pytest.raises(Stopped):
            train(clip, tmp_path)
    (state,) = (tmp_path / "scratch").glob("*/state.pt")
    whole = bytearray(state.read_bytes())
    whole[len(whole) // 2] ^= 4
    state.write_bytes(whole)
    with caplog.at_level("INFO"):
        assert published(train(clip, tmp_path)) == published(straight)
    assert f"{state} is damaged (" in caplog.text
    assert "continuing at step" not in caplog.text


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped", "another"])
def test_every_damage_is_noticed(tmp_path, caplog, damage):
    state = State(3, 1.0, {"a": torch.rand(500)}, {}, torch.rand(3, 2), torch.rand(3, 6))
    save_state(tmp_path, state)
    assert torch.equal(load_state(tmp_path).model["a"], state.model["a"])
    path = tmp_path / "state.pt"
    whole = path.read_bytes()
    middle = len(whole) // 2
    if damage == "another":
        torch.save({"step": 3}, path)
    else:
        flipped = whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :]
        contents = {"empty": b"", "text": b"hello" * 99, "cut": whole[:middle], "flipped": flipped}
        path.write_bytes(contents[damage])
    assert load_state(tmp_path) is None
    assert f"{path} is damaged (" in caplog.text
    assert not path.exists()


def test_nan_names_the_frames_and_saves_nothing(clip, tmp_path, monkeypatch):
    loss = step.image_loss

    def poisoned(image, planes, places, background, *more):
        broken = background[:, 0] > 0.9
        return torch.where(broken, float("nan"), loss(image, planes, places, background, *more))

    monkeypatch.setattr(step, "image_loss", poisoned)
    plan = make_plan(10, TrainOptions(steps=40, batch=2), 29, (48, 48), 1, 0.1)
    first = int((plan.backgrounds[..., 0] > 0.9).any(1).nonzero()[0])
    rows = plan.rows[first][plan.backgrounds[first, :, 0] > 0.9]
    ids = [i for i in range(1, 13) if i not in (6, 7)]
    names = ", ".join(str(i) for i in sorted(ids[int(row)] for row in rows))
    with pytest.raises(
        UserError, match=rf"frames {names} was not a finite number at step {first};"
    ):
        train(clip, tmp_path)
    assert not (tmp_path / "model").exists()
    assert not list((tmp_path / "scratch").glob("*/state.pt"))


def test_sigterm_saves_within_ten_seconds(clip, tmp_path):
    arguments = [*clip.arguments(), "--scratch", str(tmp_path / "s"), "--out", str(tmp_path / "m")]
    process = subprocess.Popen(
        [sys.executable, script.__file__, *arguments, *SMALL, "--steps", "1000000"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in process.stderr:
        if "training blendshapes" in line:
            break
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, rest = process.communicate(timeout=10)
    assert process.returncode == 143, rest
    assert "the same command continues" in rest
    assert list((tmp_path / "s").glob("*/state.pt"))


def test_flashavatar_trains_and_writes_its_checkpoint(clip, tmp_path):
    out = train(clip, tmp_path, "--model", "flashavatar", "--uv-size", "24", "--steps", "4")
    count = read_json(out / "avatar.json")["gaussians"]
    _, gauss, iteration = torch.load(out / "chkpnt8.pth", map_location="cpu", weights_only=True)
    assert iteration == 8
    assert gauss[1].shape == (count, 3)
    assert held_out_error(clip, out)[0] < 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "magic"], "deformation model 'magic': one of"),
        (["--gaussians", "3"], "--gaussians 3: must be between"),
        (["--ssim-weight", "-1"], "--ssim-weight -1.0"),
        (["--device", "cuda"], "no GPU"),
    ],
)
def test_bad_options_are_refused(clip, tmp_path, flags, message):
    if "cuda" in flags and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UserError, match=message):
        train(clip, tmp_path, *flags)


def test_track_of_another_head_is_refused(clip):
    head = HeadModel.load(clip.head)
    other = type(head)(**{**vars(head), "version": "2"})
    with pytest.raises(UserError, match="head"):
        read_track(clip.track, other)


def test_lpips_reads_both_weight_files_or_is_absent(tmp_path):
    assert load_lpips(tmp_path, "cpu") is None
    torch.manual_seed(0)
    model = Lpips()
    numbers = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
    backbone = {}
    for number, layer in zip(numbers, model.convolutions, strict=True):
        backbone[f"features.{number}.weight"] = layer.weight.clone()
        backbone[f"features.{number}.bias"] = layer.bias.clone()
    backbone["classifier.0.weight"] = torch.zeros(2, 2)
    linear = {
        f"lin{i}.model.1.weight": torch.rand_like(weight) for i, weight in enumerate(model.linear)
    }
    torch.save(backbone, tmp_path / BACKBONE_FILE)
    torch.save(linear, tmp_path / LINEAR_FILE)
    loaded = load_lpips(tmp_path, "cpu")
    image = torch.rand(2, 32, 32, 3, requires_grad=True)
    target = torch.rand(2, 32, 32, 3)
    distance = loaded(image, target)
    assert distance.shape == (2,)
    assert (distance > 0).all()
    torch.testing.assert_close(loaded(target, target), torch.zeros(2))
    distance.sum().backward()
    assert torch.isfinite(image.grad).all()
    assert all(p.grad is None for p in loaded.parameters())
    torch.save({"something": torch.zeros(1)}, tmp_path / LINEAR_FILE)
    with pytest.raises(UserError, match=LINEAR_FILE):
        load_lpips(tmp_path, "cpu")


def test_downsampled_curves_end_at_the_last_step():
    curve = run.downsample(torch.arange(1000.0))
    assert len(curve) == 300
    assert curve[-1][0] == 1000
    assert run.downsample(torch.ones(3)) == [[1, 1.0], [2, 1.0], [3, 1.0]]


def test_code_version_sees_the_lazy_import():
    assert code_version("train_avatar") != code_version("split_frames")
