"""DiffPoseTalk's model: speech encoder, denoiser, learned vectors; and its official checkpoint.

A checkpoint has 381 entries: the speech encoder's 211, 164 that are loaded here, and 6 that follow
from its options (the sinusoids and the diffusion schedule).
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from headsplat.networks.checkpoints import load_strict
from headsplat.networks.torch_archive import TorchArchive
from headsplat.networks.wav2vec import Sizes, Wav2Vec, one_spelling
from headsplat.runtime.device import fast_products
from headsplat.runtime.errors import UserError
from headsplat.speech.diffposetalk.denoiser import Denoiser, alignment_mask
from headsplat.speech.diffposetalk.settings import AUDIO, STYLE, Settings, read_settings
from headsplat.speech.voices import RATE

ENCODER = Sizes()
_UNIT, _REACH = 320, 80  # samples: of the padding rule before the speech encoder
_SCHEDULE = ("betas", "alphas", "alpha_bars", "sigmas_flex", "sigmas_inflex")


class DiffPoseTalk(nn.Module):
    """A model with the parameter names of the official one.

    Args:
        settings: of the model.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        width, before = settings.feature_dim, settings.n_prev_motions
        self.audio_encoder = Wav2Vec(ENCODER)
        self.audio_feature_map = nn.Linear(ENCODER.width, width)
        self.start_audio_feat = nn.Parameter(torch.randn(1, before, width))
        self.start_motion_feat = nn.Parameter(torch.randn(1, before, settings.motion_dim))
        self.denoising_net = Denoiser(settings)
        if AUDIO in settings.guided:
            self.null_audio_feat = nn.Parameter(torch.randn(1, 1, width))
        if STYLE in settings.guided:
            self.null_style_feat = nn.Parameter(torch.randn(1, 1, settings.d_style))

    @torch.no_grad()
    def listen(self, samples: Tensor) -> tuple[Tensor, int]:
        """Audio features of a whole sound.

        Args:
            samples: (n,) mono at 16 kHz.

        Returns:
            (W L, d) features of W windows of L frames, and the number of frames with sound.

        Raises:
            UserError: the sound is shorter than a frame.
        """
        own = self.settings
        unit, span = RATE / own.fps, own.n_motions
        samples = samples.to(self.start_audio_feat)
        length = int(len(samples) / RATE * own.fps)
        if length < 1:
            raise UserError(
                f"the sound has {len(samples)} samples, less than a frame of {unit:.0f}; give "
                "longer speech"
            )
        samples = (samples - samples.mean()) / (samples.std() + 1e-5)
        windows = math.ceil(length / span)
        lacking = round(unit * span) * windows - len(samples)
        silent = max(0, math.ceil(lacking / unit))
        if lacking > 0:
            last = samples[-1] if own.pad_mode == "replicate" else samples.new_zeros(())
            samples = torch.cat([samples, last.expand(lacking)])
        with fast_products(samples.device):
            features = self.audio_encoder.features(_padded(samples)[None])
            features = _resized(features, 2 * span * windows)
            heard = _resized(self.audio_encoder.encode(features), span * windows)
            return self.audio_feature_map(heard)[0], span * windows - silent


def _padded(samples: Tensor) -> Tensor:
    """(n,) -> as long as the convolutions need to make n / 320 frames; mirrored, then repeated."""
    count = len(samples)
    side = math.ceil((_UNIT * (count // _UNIT) + _REACH - count) / 2)
    if side < 0:
        return samples
    padded = samples[None]
    for amount, mode in ((side // 2, "reflect"), (side // 2, "reflect"), (side % 2, "replicate")):
        if amount:
            padded = functional.pad(padded, (amount, amount), mode=mode)
    return padded[0]


def _resized(features: Tensor, count: int) -> Tensor:
    """(B, T, C) -> (B, count, C), linear between the centers of frames."""
    if features.shape[1] == count:
        return features
    moved = functional.interpolate(features.transpose(1, 2), count, mode="linear")
    return moved.transpose(1, 2)


def load_model(path: Path | str, device: torch.device | str = "cpu") -> DiffPoseTalk:
    """Load an official checkpoint, `iter_<n>.pt` of an experiment `DPT`.

    Raises:
        UserError: not a complete archive, no DiffPoseTalk model, or other entries or shapes than
            its options call for.
    """
    with TorchArchive(path) as archive:
        settings = read_settings(archive.options("args"), str(path))
        state = {k: archive.read(v) for k, v in archive.table("model").items()}
    return build_model(settings, state, path).to(device)


def build_model(settings: Settings, state: Mapping[str, Tensor], path: Path | str) -> DiffPoseTalk:
    """A model of the entries of a checkpoint; see `load_model`.

    Args:
        settings: of the model.
        state: all entries, with those that follow from the settings.
        path: path of the file, for messages.
    """
    derived = derived_shapes(settings)
    state = one_spelling(state)
    for key, shape in derived.items():
        if key not in state:
            raise UserError(f"{path}: the key '{key}' is missing; give the original weight file")
        have = state.pop(key).shape
        if not _fits(have, shape):
            raise UserError(
                f"{path}: '{key}' has shape {list(have)}, which its options do not call for; give "
                "the original weight file"
            )
    with torch.device("meta"):
        model = DiffPoseTalk(settings)
    load_strict(model, state, path)
    if settings.align_mask_width and not torch.equal(
        model.denoising_net.alignment_mask.cpu(), alignment_mask(settings)
    ):
        raise UserError(
            f"{path}: 'denoising_net.alignment_mask' is not the one of its options; give the "
            "original weight file"
        )
    return model.eval().requires_grad_(False)


def _fits(have: Sequence[int], want: Sequence[int | None]) -> bool:
    return len(have) == len(want) and all(n in (None, m) for m, n in zip(have, want, strict=True))


def derived_shapes(settings: Settings) -> dict[str, tuple[int | None, ...]]:
    """Shapes of the entries that follow from the settings; None is any length."""
    width = settings.feature_dim
    shapes: dict[str, tuple[int | None, ...]] = {"denoising_net.TE.pe": (1, None, width)}
    if not settings.learnable_pe:
        shapes["denoising_net.PE.pe"] = (1, None, width)
    for name in _SCHEDULE:
        shapes[f"diffusion_sched.{name}"] = (settings.n_diff_steps + 1,)
    return shapes
