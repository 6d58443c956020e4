"""HuBERT and wav2vec2 against `transformers`, with random weights in both spellings."""

import pytest
import torch

from headsplat.networks.checkpoints import load_strict
from headsplat.networks.wav2vec import Sizes, Wav2Vec, frames, one_spelling
from headsplat.runtime.errors import UserError

transformers = pytest.importorskip(
    "transformers",
    reason="needs transformers: pip install transformers==5.24.0",
    exc_type=ImportError,
)
TOLERANCE = 1e-4


def oracle(kind: str, **sizes):
    torch.manual_seed(3)
    config = getattr(transformers, f"{kind}Config")(**sizes)
    network = getattr(transformers, f"{kind}Model")(config)
    for name, weight in network.named_parameters():
        if "layer_norm" in name or name.endswith("bias"):
            weight.data += 0.1 * torch.randn_like(weight)
    return network.eval().requires_grad_(False)


def ours(state: dict, sizes: Sizes) -> Wav2Vec:
    with torch.device("meta"):
        network = Wav2Vec(sizes)
    load_strict(network, one_spelling(state), "weights.pt")
    return network.eval().requires_grad_(False)


def old_spelling(state: dict) -> dict:
    renamed = {"original0": "weight_g", "original1": "weight_v"}
    return {
        key.replace(f"parametrizations.weight.{new}", old): value
        for key, value in state.items()
        for new, old in renamed.items()
        if new in key or ("original" not in key and new == "original0")
    }


@pytest.mark.parametrize("kind", ["Hubert", "Wav2Vec2"])
@pytest.mark.parametrize("samples", [16_000, 64_080, 30_123])
def test_the_base_models_agree(kind, samples):
    network = oracle(kind)
    state = network.state_dict()
    assert len(state) == 211
    sound = torch.randn(1, samples, generator=torch.Generator().manual_seed(1)) + 0.05
    expected = network(sound).last_hidden_state
    for spelled in (state, old_spelling(state)):
        mine = ours(spelled, Sizes())
        found = mine.encode(mine.features(sound))
        assert found.shape == expected.shape == (1, frames(samples), 768)
        assert (found - expected).abs().max() <= TOLERANCE


def test_features_of_long_sound_are_those_of_the_whole():
    network = oracle("Hubert", num_hidden_layers=1)
    sound = torch.randn(2, 27 * 16_000, generator=torch.Generator().manual_seed(2))
    mine = ours(network.state_dict(), Sizes(layers=1))
    expected = network.feature_extractor(sound).transpose(1, 2)
    found = mine.features(sound)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= TOLERANCE


def test_other_layouts_are_refused():
    network = oracle("Hubert", num_hidden_layers=1, num_attention_heads=2)
    with pytest.raises(UserError, match=r"encoder\.layers\.1.* is missing"):
        ours(network.state_dict(), Sizes(layers=2))
