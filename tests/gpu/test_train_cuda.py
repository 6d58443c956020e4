"""Training on a GPU: captured steps equal plain ones, budgets grow, out-of-memory is handled."""

import pytest
import torch

from headsplat.frame_code import FrameCode
from headsplat.gaussians.deform.codes import POSE
from headsplat.gaussians.deform.torso import CODE
from headsplat.gaussians.raster.gaussians import InstanceBudget
from headsplat.heads.model import HeadModel
from headsplat.runtime import cuda_graph
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_json
from headsplat.track import read_track
from headsplat.train import run, step
from headsplat.train.dataset import ImageReader, PersonReader, open_images
from headsplat.train.options import train_options
from headsplat.train.plan import make_plan
from headsplat.train.prepare import empty_avatar, initialize, training_frames
from headsplat.train.step import HeadStep
from headsplat.train.torso import TorsoStep, start_torso
from headsplat.train.trainer import Trainer
from tests.unit.tiny_clip import make_clip

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICE = torch.device("cuda")
SMALL = {"gaussians": 600, "bases": 4, "batch": 4, "steps": 1000, "uv_size": 24}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return make_clip(tmp_path_factory.mktemp("clip"))


def new_trainer(clip, options=None, limit_mib=1000) -> Trainer:
    options = options or train_options(**SMALL)
    head = HeadModel.load(clip.head)
    track = read_track(clip.track, head)
    ids = read_json(clip.split)["train"]
    size = (track.height, track.width)
    plan = make_plan(len(ids), options, FrameCode.size(head) + POSE, size, 20, 0.03)
    reader = ImageReader([clip.frames], [clip.alpha], [clip.parsing], track.width, track.height)
    images = open_images(reader, ids, plan.rows, DEVICE, limit_mib, 0)
    avatar = empty_avatar(head, track, track.rows(ids), options, DEVICE)
    frames = training_frames(avatar, track, ids)
    initialize(avatar, frames, images)
    return Trainer(HeadStep(avatar, frames, images, plan, options, None), plan, options)


def losses(trainer: Trainer) -> torch.Tensor:
    return trainer._step.per_image.cpu()


@pytest.mark.parametrize("model", ["blendshapes", "flashavatar"])
def test_a_thousand_recorded_steps_agree_with_eager_ones(clip, monkeypatch, model):
    options = train_options(**SMALL | {"model": model})
    recorded = new_trainer(clip, options)
    recorded.advance(1000)
    assert recorded._captured.settled
    monkeypatch.setattr(cuda_graph, "EAGER_RUNS", 10**9)
    plain = new_trainer(clip, options)
    plain.advance(1000)
    assert not plain._captured.settled
    a, b = losses(recorded), losses(plain)
    # The first steps are the same arithmetic; later ones differ by the order of atomics.
    torch.testing.assert_close(a[:20], b[:20], rtol=1e-4, atol=1e-6)
    assert abs(a[-100:].mean() / b[-100:].mean() - 1) < 0.02
    assert a[-100:].mean() < 0.7 * a[:20].mean()


def test_streamed_and_resident_images_train_equally(clip):
    resident, streamed = new_trainer(clip), new_trainer(clip, limit_mib=0)
    assert type(streamed.images) is not type(resident.images)
    for trainer in (resident, streamed):
        trainer.advance(300)
    torch.testing.assert_close(losses(streamed)[:50], losses(resident)[:50], rtol=1e-3, atol=1e-6)
    streamed.images.close()


def test_buffers_grow_without_losing_a_step(clip, monkeypatch):
    straight = new_trainer(clip)
    straight.advance(120)
    monkeypatch.setattr(step, "_FIRST_PAIRS", 1)
    grown = new_trainer(clip)
    first = grown._step.budget.pairs
    grown.advance(120)
    assert grown._step.budget.pairs > first
    assert int(grown._step.cursor) == grown.done == 120
    torch.testing.assert_close(losses(grown)[:50], losses(straight)[:50], rtol=1e-3, atol=1e-6)


def test_steps_do_not_synchronize(clip):
    trainer = new_trainer(clip, train_options(**SMALL | {"coarse_fraction": 0.0}))
    trainer.advance(20)
    assert trainer._captured.settled
    with trainer._captured.stream():
        torch.cuda.set_sync_debug_mode("error")
        try:
            for number in range(20, 30):
                trainer.step(number)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_out_of_memory_saves_state_and_names_options_to_lower(clip, tmp_path, monkeypatch):
    calls = []

    def short(self, need):
        calls.append(1)
        if len(calls) == 6:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")
        before(self, need)

    before = InstanceBudget.note
    monkeypatch.setattr(InstanceBudget, "note", short)
    monkeypatch.setattr(cuda_graph, "EAGER_RUNS", 3)
    arguments = dict(
        head_path=clip.head, track_path=clip.track, split_path=clip.split, frames=[clip.frames],
        alpha=[clip.alpha], parsing=[clip.parsing], scratch_root=tmp_path / "scratch",
        out=tmp_path / "model",
        options=train_options(**SMALL | {"steps": 40, "coarse_fraction": 0.1}),
        assets=tmp_path,        device_name="cuda", cache_mib=100, gpu_percent=50, code="x",
    )  # fmt: skip
    with pytest.raises(UserError, match=r"out of memory: about \d+ MiB .*lower train.batch"):
        run.train_avatar(**arguments)
    (state,) = (tmp_path / "scratch").glob("*/state.pt")
    assert 0 < torch.load(state, weights_only=True)["step"] < 40
    monkeypatch.setattr(InstanceBudget, "note", before)
    run.train_avatar(**arguments)
    assert read_json(tmp_path / "model" / "training.json")["images"] == 160


def test_profile_of_recorded_steps_names_the_rasterizer(clip, tmp_path):
    options = train_options(**SMALL | {"steps": 60, "profile_steps": 5})
    trainer = new_trainer(clip, options)
    outcome = trainer.run(tmp_path)
    assert outcome.profile["wall"] > 0
    assert any("rasterizer" in part for part in outcome.profile), outcome.profile
    assert trainer.done == 60


def test_a_torso_trains_by_recorded_steps(tmp_path):
    clip = make_clip(tmp_path, body=True)
    options = train_options(**SMALL)
    head = HeadModel.load(clip.head)
    track = read_track(clip.track, head)
    ids = read_json(clip.split)["train"]
    size = (track.height, track.width)
    plan = make_plan(len(ids), options, CODE, size, 20, 0.03)
    reader = ImageReader([clip.frames], [clip.alpha], [clip.parsing], track.width, track.height)
    images = open_images(PersonReader(reader), ids, plan.rows, DEVICE, 1000, 0)
    avatar = empty_avatar(head, track, track.rows(ids), options, DEVICE)
    frames = training_frames(avatar, track, ids)
    initialize(avatar, frames, open_images(reader, ids, plan.rows, DEVICE, 1000, 0))
    before = avatar.deformation.weights.clone()
    avatar.torso = start_torso(avatar, frames, frames.trunk, images, 100)
    step = TorsoStep(avatar, frames, frames.trunk, images, plan, options)
    trainer = Trainer(step, plan, options)
    trainer.advance(200)
    assert trainer._captured.settled
    found = losses(trainer)
    assert found[150:200].mean() < 0.9 * found[:20].mean()
    assert torch.equal(avatar.deformation.weights, before)
