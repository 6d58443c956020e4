"""DiffPoseTalk's checkpoints and networks: layouts, refusals, and parity with the plain oracle."""

import argparse
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.speech_weights import (
    BASE,
    OPTIONS,
    SMALL,
    STYLE_OPTIONS,
    TINY,
    expanded,
    old_names,
    random_state,
    save,
    style_shapes,
    talker_shapes,
)
from headsplat.networks.torch_archive import TorchArchive
from headsplat.runtime.errors import UserError
from headsplat.speech.diffposetalk import model as models
from headsplat.speech.diffposetalk.model import build_model, load_model
from headsplat.speech.diffposetalk.sampler import Sampling, sample
from headsplat.speech.diffposetalk.schedule import alpha_bars, sampling_steps
from headsplat.speech.diffposetalk.settings import read_settings, read_style_settings
from headsplat.speech.diffposetalk.style import load_style_encoder
from tests.oracles.diffposetalk import PlainDenoiser, cosine_bars
from tests.unit.small_talker import SMALL_ENCODER, small_model

TINY_OPTIONS = OPTIONS | TINY


@pytest.mark.parametrize(
    ("headless", "spelling", "names"), [(False, "old", old_names), (True, "new", dict)]
)
def test_both_published_sets_load(headless, spelling, names):
    options = OPTIONS | {"no_head_pose": headless}
    shapes = talker_shapes(options, BASE, spelling)
    assert len(shapes) == 381
    settings = read_settings(names(options), "x.pt")
    assert settings == read_settings(options, "x.pt")
    model = build_model(settings, expanded(shapes), "x.pt")
    assert model.start_motion_feat.shape == (1, 10, 51 if headless else 54)


def test_a_style_encoder_loads(tmp_path):
    shapes = style_shapes(STYLE_OPTIONS)
    assert len(shapes) == 50
    path = save(tmp_path / "style.pt", STYLE_OPTIONS, encoder=random_state(shapes))
    assert load_style_encoder(path).settings.feature_dim == 128
    old = STYLE_OPTIONS | {"predict_head_pose": True}
    old.pop("no_head_pose")
    assert read_style_settings(old, "x") == read_style_settings(STYLE_OPTIONS, "x")


def write_small(folder, monkeypatch, options=None, change=None) -> Path:
    monkeypatch.setattr(models, "ENCODER", SMALL_ENCODER)
    state = random_state(talker_shapes(TINY_OPTIONS, SMALL))
    if change:
        change(state)
    return save(folder / "iter.pt", options or TINY_OPTIONS, model=state)


def test_a_checkpoint_is_read_through_the_restricted_reader(tmp_path, monkeypatch):
    path = write_small(tmp_path, monkeypatch)
    with TorchArchive(path) as archive:
        options = archive.options("args")
    assert options["style_enc_ckpt"] == "experiments/SE/x/checkpoints/iter_0034000.pt"
    model = load_model(path)
    expected = build_model(model.settings, random_state(talker_shapes(TINY_OPTIONS, SMALL)), "x")
    for key, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[key], value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s.pop("start_audio_feat"), "'start_audio_feat' is missing"),
        (lambda s: s.pop("diffusion_sched.betas"), "'diffusion_sched.betas' is missing"),
        (lambda s: s.update(extra=torch.zeros(1)), "'extra' is not one of this network's"),
        (lambda s: s.update({"denoising_net.PE": torch.zeros(1, 2, 3)}), r"shape \[1, 2, 3\], not"),
        (lambda s: s.update({"denoising_net.TE.pe": torch.zeros(1, 9, 3)}), "options do not call"),
        (lambda s: s.update({"diffusion_sched.betas": torch.zeros(7)}), "options do not call"),
        (lambda s: s["denoising_net.alignment_mask"].fill_(False), "alignment_mask' is not the"),
    ],
)
def test_other_entries_are_one_line(tmp_path, monkeypatch, change, expected):
    path = write_small(tmp_path, monkeypatch, change=change)
    with pytest.raises(UserError, match=rf"iter\.pt: .*{expected}") as caught:
        load_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"feature_dim": 1 << 40}, "'feature_dim' is 1099511627776, not 2 to 4096"),
        ({"n_layers": "8"}, "'n_layers' is '8', not 1 to 64"),
        ({"n_heads": 3}, "a width of 16 is not for 3 heads"),
        ({"n_prev_motions": 13}, "'n_prev_motions' is above 12"),
        ({"target": "noise"}, "'target' is 'noise', not sample"),
        ({"audio_model": None}, "'audio_model' is None, not hubert or wav2vec2"),
        ({"diff_schedule": ["cosine"]}, r"'diff_schedule' is \['cosine'\], not linear"),
        ({"style_enc_ckpt": None}, "is guided by a style but has no style encoder"),
        ({"align_mask_width": 1.5}, "'align_mask_width' is 1.5, not a width"),
    ],
)
def test_other_options_are_one_line(tmp_path, monkeypatch, changed, expected):
    path = write_small(tmp_path, monkeypatch, TINY_OPTIONS | changed)
    with pytest.raises(UserError, match=rf"iter\.pt: .*{expected}"):
        load_model(path)


class Hostile:
    def __reduce__(self):
        return (exec, ("raise SystemExit('called')",))


def test_hostile_truncated_and_foreign_files_are_one_line(tmp_path, monkeypatch):
    path = write_small(tmp_path, monkeypatch)
    whole = path.read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cut\.pt: not a complete torch archive"):
        load_model(tmp_path / "cut.pt")
    for name, value in (("args", Hostile()), ("model", Hostile())):
        content = {"args": argparse.Namespace(**TINY_OPTIONS), "model": {}, "iter": 1, name: value}
        torch.save(content, tmp_path / "hostile.pt")
        with pytest.raises(UserError, match=r"hostile\.pt: "):
            load_model(tmp_path / "hostile.pt")
    style = save(tmp_path / "style.pt", STYLE_OPTIONS, encoder={})
    with pytest.raises(UserError, match=r"style\.pt: option 'target'"):
        load_model(style)
    with pytest.raises(UserError, match=r"iter\.pt: the key 'encoder' is missing"):
        load_style_encoder(path)
    with pytest.raises(UserError, match=r"none\.pt: cannot be read"):
        load_model(tmp_path / "none.pt")


def test_paths_in_a_pickle_cannot_grow(tmp_path, monkeypatch):
    path = write_small(tmp_path, monkeypatch)

    class Long:
        def __reduce__(self):
            return (Path("x").__class__, tuple(["a" * 900] * 9))

    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in members if name.endswith("data.pkl"))
    members[pickled] = pickle.dumps({"args": Long()}, protocol=2)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(UserError, match="a path that is not made of names"):
        load_model(path)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"no_head_pose": True, "use_indicator": False},
        {"no_use_learnable_pe": True, "n_layers": 3},
        {"align_mask_width": 0},
    ],
    ids=["head", "no head", "fixed positions", "no mask"],
)
def test_the_denoiser_equals_the_plain_decoder(monkeypatch, changed):
    small = small_model(monkeypatch, **changed)
    own, net = small.model.settings, small.model.denoising_net
    generator = torch.Generator().manual_seed(2)
    frames, audio, person, before, heard = (
        torch.randn(3, *shape, generator=generator)
        for shape in (
            (own.n_motions, own.motion_dim), (own.n_motions, own.feature_dim), (own.person_dim,),
            (own.n_prev_motions, own.motion_dim), (own.n_prev_motions, own.feature_dim),
        )
    )  # fmt: skip
    mark = (torch.arange(own.n_motions) < 8).float().expand(3, -1)
    plain = PlainDenoiser(small.state, small.options)
    values = [v.double() for v in (frames, audio, person, before, heard)]
    expected = plain(*values, 17, mark.double())[:, own.n_prev_motions :]
    with torch.no_grad():
        window = net.window(person, torch.cat([heard, audio], 1), before, mark)
        found = net(frames, net.moments(torch.tensor([17])), window)
    assert (found - expected).abs().max() <= 1e-5


@pytest.mark.parametrize("styled", [True, False])
@pytest.mark.parametrize(("steps", "quantile"), [(20, 0.0), (6, 0.0), (20, 0.99)])
def test_three_windows_with_given_noise(monkeypatch, styled, steps, quantile):
    small = small_model(monkeypatch)
    takes = small.takes([3, 1, 2], styled)
    found = sample(small.model, takes, Sampling(steps, 1.15, 3.0, quantile))
    for take, made in zip(takes, found, strict=True):
        expected = small.expected(take, steps, quantile=quantile)
        assert made.shape == expected.shape == (take.frames, 54)
        assert (made - expected).abs().max() <= 1e-3
        assert expected.std() > 0.3


def test_guidance_scales_matter(monkeypatch):
    small = small_model(monkeypatch)
    made = []
    for scales in ((1.15, 3.0), (1.0, 1.0), (1.15, 1.0)):
        (take,) = small.takes([1], styled=True)
        made.append(sample(small.model, [take], Sampling(20, *scales))[0])
        expected = small.expected(take, 20, scales)
        assert (made[-1] - expected).abs().max() <= 1e-3
    assert (made[0] - made[1]).abs().max() > 0.01
    assert (made[1] - made[2]).abs().max() > 0.01


def test_the_schedule_is_the_cosine_one():
    np.testing.assert_allclose(alpha_bars("cosine", 500), cosine_bars(500), rtol=1e-9)
    assert alpha_bars("cosine", 500)[-1] == pytest.approx(9.7e-9, rel=0.05)
    full, short = sampling_steps("cosine", 500, 500), sampling_steps("cosine", 500, 25)
    assert (full.times[0], full.times[-1], len(full.times)) == (500, 1, 500)
    assert (short.times[0], short.times[-1], len(short.times)) == (500, 1, 25)
    for steps in (full, short):
        assert (steps.keep[-1], steps.sigma[-1]) == (0, 0)
        assert steps.take[-1] == pytest.approx(1)
    for kind in ("linear", "quadratic", "sigmoid"):
        bars = alpha_bars(kind, 500)
        assert (np.diff(bars) < 0).all()
        assert bars[-1] < 0.2


@pytest.mark.parametrize(
    ("samples", "frames", "windows"),
    [(640, 1, 1), (7680, 12, 1), (7680 + 639, 12, 1), (8321, 13, 2), (20_000, 31, 3)],
)
def test_lengths_of_sounds(monkeypatch, samples, frames, windows):
    small = small_model(monkeypatch)
    sound = torch.randn(samples, generator=torch.Generator().manual_seed(1))
    features, counted = small.model.listen(sound)
    assert features.shape == (windows * 12, 16)
    assert counted == frames
    assert torch.isfinite(features).all()


def test_sounds_shorter_than_a_frame_are_one_line(monkeypatch):
    small = small_model(monkeypatch)
    for samples in (0, 1, 639):
        with pytest.raises(UserError, match=rf"the sound has {samples} samples"):
            small.model.listen(torch.zeros(samples))
    assert torch.isfinite(small.model.listen(torch.zeros(640))[0]).all()
