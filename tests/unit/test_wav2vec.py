"""The speech encoder: layout of the published weights, lengths, and long sound in pieces."""

import pytest
import torch

from benchmarks.speech_weights import BASE, SMALL, encoder_shapes, expanded, random_state
from headsplat.networks import wav2vec
from headsplat.networks.checkpoints import load_strict
from headsplat.networks.wav2vec import Sizes, Wav2Vec, frames, one_spelling, pieces
from headsplat.runtime.errors import UserError


def load(state, sizes=Sizes()):  # noqa: B008 (frozen)
    with torch.device("meta"):
        network = Wav2Vec(sizes)
    load_strict(network, one_spelling(state), "hubert.pt")
    return network.eval().requires_grad_(False)


def small(spelling="old"):
    return load(random_state(encoder_shapes(SMALL, spelling)), Sizes(heads=2, **SMALL))


@pytest.mark.parametrize("spelling", ["old", "new"])
def test_the_published_layout_loads(spelling):
    shapes = encoder_shapes(BASE, spelling)
    assert len(shapes) == 211
    load(expanded(shapes))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s.pop("encoder.layers.1.attention.k_proj.bias"), "k_proj.bias' is missing"),
        (lambda s: s.update(lm_head=torch.zeros(3)), "'lm_head' is not one of this network's"),
        (lambda s: s.update({"encoder.layer_norm.bias": torch.zeros(3)}), r"shape \[3\], not"),
        (lambda s: s.update(masked_spec_embed=torch.full((16,), torch.nan)), "NaN or infinity"),
    ],
)
def test_other_layouts_are_one_line(change, expected):
    state = expanded(encoder_shapes(SMALL))
    change(state)
    with pytest.raises(UserError, match=rf"^hubert\.pt: .*{expected}"):
        load(state, Sizes(heads=2, **SMALL))


def test_both_spellings_are_one_network():
    sound = torch.randn(1, 5000, generator=torch.Generator().manual_seed(1))
    old, new = small(), small("new")
    assert torch.equal(old.encode(old.features(sound)), new.encode(new.features(sound)))


@pytest.mark.parametrize("samples", [400, 719, 720, 16_000, 64_080, 960_080])
def test_frames_are_50_a_second(samples):
    convolved = samples
    for kernel, stride in ((10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2):
        convolved = (convolved - kernel) // stride + 1
    assert frames(samples) == convolved
    assert frames(64_080) == 200
    assert frames(960_080) == 3000
    assert frames(100) == 0


def test_features_in_pieces_are_those_of_the_whole(monkeypatch):
    sound = torch.randn(2, 30_000, generator=torch.Generator().manual_seed(1)) + 0.1
    network = small()
    whole = network.features(sound)
    first = network.feature_extractor.conv_layers[0]
    x = torch.nn.functional.gelu(first.layer_norm(first.conv(sound[:, None])))
    for layer in network.feature_extractor.conv_layers[1:]:
        x = layer(x)
    torch.testing.assert_close(whole, x.transpose(1, 2), atol=2e-6, rtol=1e-5)
    monkeypatch.setattr(wav2vec, "_CONVOLVED", 7)
    torch.testing.assert_close(network.features(sound), whole, atol=2e-6, rtol=1e-5)


def test_pieces_cover_all_frames_once():
    assert list(pieces(100, 60, 20)) == [(0, 100, 0, 100)]
    found = list(pieces(130, 60, 20))
    assert found == [(0, 60, 0, 80), (60, 120, 40, 130), (120, 130, 100, 130)]


def test_encoding_in_pieces_is_near_the_whole(monkeypatch):
    network = small()
    features = torch.randn(1, 300, SMALL["channels"], generator=torch.Generator().manual_seed(1))
    whole = network.encode(features)
    monkeypatch.setitem(wav2vec.PIECES, "cpu", (100, 40))
    found = network.encode(features)
    assert found.shape == whole.shape
    # The frames that attention no longer reaches are missing from its mean.
    assert 0 < (found - whole).abs().mean() < 0.2 * whole.std()
    inside = (found - whole)[:, :60].abs().mean()
    monkeypatch.setitem(wav2vec.PIECES, "cpu", (100, 0))
    assert inside < (network.encode(features) - whole).abs().mean()
