"""Speech networks on a GPU agree with the CPU and the plain oracle; recorded steps, long sound."""

import pytest
import torch

from benchmarks.speech_weights import BASE, encoder_shapes, random_state
from headsplat.networks.checkpoints import load_strict
from headsplat.networks.wav2vec import Wav2Vec
from headsplat.speech.diffposetalk.sampler import Sampling, SeededNoise, Take, sample
from tests.unit.small_talker import small_model

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("styled", [True, False])
@pytest.mark.parametrize("steps", [20, 7])
def test_takes_of_several_lengths_match_the_oracle(monkeypatch, styled, steps):
    small = small_model(monkeypatch)
    model = small.model.cuda()
    takes = small.takes([1, 3, 2, 3], styled, "cuda")
    found = sample(model, takes, Sampling(steps))
    for take, made in zip(takes, found, strict=True):
        expected = small.expected(take, steps)
        assert made.shape == expected.shape
        # Products are TF32, whose mantissa has ten bits.
        assert (made.cpu() - expected).abs().max() < 0.03 * expected.std()


def test_half_precision_is_near(monkeypatch):
    small = small_model(monkeypatch)
    takes = small.takes([2], True, "cuda")
    (found,) = sample(small.model.cuda(), takes, Sampling(20, dtype=torch.float16))
    expected = small.expected(takes[0], 20)
    assert (found.cpu() - expected).abs().max() < 0.03 * expected.std()
    assert next(small.model.parameters()).dtype == torch.float32


def test_a_take_does_not_depend_on_its_batch(monkeypatch):
    small = small_model(monkeypatch)
    model = small.model.cuda()

    def seeded(numbers):
        takes = small.takes([3, 1, 2], True, "cuda")
        return [Take(t.audio, t.frames, t.shape, t.style, SeededNoise(k, "cuda"))
                for k, t in enumerate(takes) if k in numbers]  # fmt: skip

    together = sample(model, seeded({0, 1, 2}), Sampling(20))
    alone = [sample(model, seeded({k}), Sampling(20))[0] for k in range(3)]
    for a, b in zip(together, alone, strict=True):
        assert (a - b).abs().max() < 0.02 * b.std()
    again = sample(model, seeded({1}), Sampling(20))[0]
    assert torch.equal(again, alone[1])


def test_listening_matches_the_cpu(monkeypatch):
    small = small_model(monkeypatch)
    sound = torch.randn(50_000, generator=torch.Generator().manual_seed(1))
    expected, frames = small.model.listen(sound)
    found, same = small.model.cuda().listen(sound.cuda())
    assert frames == same
    assert (found.cpu() - expected).abs().max() < 0.02 * expected.std()


def test_ten_minutes_of_sound_fit():
    network = Wav2Vec()
    load_strict(network, random_state(encoder_shapes(BASE)), "x.pt")
    network = network.eval().requires_grad_(False).cuda()
    sound = torch.randn(1, 600 * 16_000, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    found = network.encode(network.features(sound))
    assert found.shape == (1, 29_999, 768)
    assert torch.isfinite(found).all()
    assert torch.cuda.max_memory_allocated() < 6 << 30
