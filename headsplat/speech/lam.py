"""The voice `lam`: LAM-A2E (Alibaba, 2025) as ARKit coefficients at 30 fps.

wav2vec2 base, then convolutions over time with the identity's vector. A checkpoint has 247 entries;
`lm_head`, which the official class also makes, may be there and is not used.
"""

import math
from pathlib import Path

import numpy as np
import torch
from scipy.signal import savgol_filter
from torch import Tensor, nn
from torch.nn import functional

from headsplat.drive.arkit_motion import motion_from_table, require_arkit_head
from headsplat.drive.motion import Motion
from headsplat.drive.subject import DrivenSubject
from headsplat.formats.arkit.live_link import LiveLinkTable
from headsplat.formats.arkit.names import BLENDSHAPES
from headsplat.networks.checkpoints import load_strict
from headsplat.networks.torch_archive import TorchArchive
from headsplat.networks.wav2vec import WINDOW, Sizes, Wav2Vec, one_spelling
from headsplat.runtime.device import choose_device, fast_products
from headsplat.runtime.errors import UserError
from headsplat.speech.upper_face import on_own_face
from headsplat.speech.voices import RATE, SpeechOptions
from headsplat.track import Track

FPS = 30
ENCODER = Sizes()
# The network's order of ARKit's names.
NAMES = tuple(sorted(BLENDSHAPES))
_PREFIX, _UNUSED = "module.backbone.", "audio_encoder.lm_head."
_IDENTITIES, _IDENTITY, _WIDTH = 12, 64, 512
# Silence: frames of this root mean square and number, in which the mouth is kept to a tenth.
_QUIET, _LEAST, _KEPT, _RAMP = 1e-3, 7, 0.1, 3
_SMOOTH, _DEGREE = 5, 2  # Savitzky-Golay: frames and degree
_MOUTH = ("Jaw", "Mouth", "NoseSneer", "CheekPuff")
_UNDAMPED = ("MouthClose",)


class _Block(nn.Module):
    """Convolution, layer norm over channels, residual if any, ReLU; (B, C, T) -> (B, 512, T)."""

    def __init__(self, inputs: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        if residual and inputs != _WIDTH:
            self.residual_layer = nn.Sequential(nn.Conv1d(inputs, _WIDTH, 3, padding=1))
        self.conv = nn.Conv1d(inputs, _WIDTH, 3, padding=1)
        self.norm = nn.LayerNorm(_WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x).transpose(1, 2)).transpose(1, 2)
        if self.residual:
            y = y + (self.residual_layer(x) if hasattr(self, "residual_layer") else x)
        return functional.relu(y)


class _Person(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.id_mlp = nn.Conv1d(_IDENTITIES, _IDENTITY, 1)
        widths = (_WIDTH + _IDENTITY, _WIDTH, _WIDTH)
        blocks = [_Block(width, residual=True) for width in widths]
        self.first_net = nn.ModuleDict({"conv_layers": nn.Sequential(*blocks)})
        self.grus = nn.GRU(_WIDTH, _WIDTH, batch_first=True)  # in the file, never run

    def forward(self, x: Tensor) -> Tensor:
        """(B, 512, T) -> (B, 512, T) in the manner of the first identity, as the official code."""
        chosen = functional.one_hot(torch.tensor([0]), _IDENTITIES).to(x)
        person = self.id_mlp(chosen[..., None]).expand(len(x), -1, x.shape[2])
        return self.first_net["conv_layers"](torch.cat([x, person], 1))


class Lam(nn.Module):
    """LAM-A2E with the parameter names of the official one, without their common prefix."""

    def __init__(self) -> None:
        super().__init__()
        self.audio_encoder = Wav2Vec(ENCODER)
        self.feature_projection = nn.Linear(ENCODER.width, _WIDTH)
        self.identity_encoder = _Person()
        decoder = [_Block(_WIDTH, residual=False) for _ in range(3)]
        self.decoder = nn.ModuleList([nn.Sequential(*decoder)])
        self.output_proj = nn.Linear(_WIDTH, len(NAMES))

    @torch.no_grad()
    def forward(self, samples: Tensor) -> Tensor:
        """(n,) samples at 16 kHz -> (T, 52) coefficients at 30 fps in the order of `NAMES`.

        Raises:
            UserError: fewer samples than a frame of the encoder.
        """
        if len(samples) < WINDOW:
            raise UserError(
                f"the sound has {len(samples)} samples, LAM-A2E needs {WINDOW}; give longer speech"
            )
        count = math.ceil(len(samples) / RATE * FPS)
        with fast_products(samples.device):
            heard = self.audio_encoder.features(samples[None]).transpose(1, 2)
            heard = functional.interpolate(heard, count, mode="linear", align_corners=True)
            x = self.feature_projection(self.audio_encoder.encode(heard.transpose(1, 2)))
            x = self.decoder[0](self.identity_encoder(x.transpose(1, 2)))
            return self.output_proj(x.transpose(1, 2))[0].sigmoid()


def load_lam(path: Path | str, device: torch.device | str = "cpu") -> Lam:
    """Load the official `lam_audio2exp_streaming.tar`, a torch file despite its name.

    Raises:
        UserError: not a complete torch archive, or other entries or shapes than LAM-A2E's.
    """
    with TorchArchive(path) as archive:
        table = archive.table("state_dict")
        state = {
            key.removeprefix(_PREFIX): archive.read(value)
            for key, value in table.items()
            if not key.startswith(_PREFIX + _UNUSED)
        }
    return build_lam(state, path).to(device)


def build_lam(state: dict[str, Tensor], path: Path | str) -> Lam:
    """A network of its entries without the prefix; see `load_lam`."""
    with torch.device("meta"):
        network = Lam()
    load_strict(network, one_spelling(state), path)
    return network.eval().requires_grad_(False)


def speak(
    samples: np.ndarray, subject: DrivenSubject, track: Track, options: SpeechOptions
) -> Motion:
    """Speech as a motion at the track's frame rate; see `headsplat.speech.voices.Voice`.

    Expressions and jaw are the network's, relative to the subject's neutral face. Head turns, gaze
    and lids are those of the subject's clip.

    Raises:
        UserError: the head has no shapes with ARKit's names, the file is not LAM-A2E's, or the
            sound is too short.
    """
    require_arkit_head("", subject.head)
    device = choose_device(options.device)
    network = load_lam(options.files["lam"], device)
    made = network(torch.from_numpy(samples).to(device)).cpu().double().numpy()
    smooth = smoothed(damped_in_silence(made, samples))
    times = np.arange(len(smooth)) / FPS
    table = LiveLinkTable(times, dict(zip(NAMES, smooth.T, strict=True)))
    motion = motion_from_table("LAM-A2E", table, subject, options.motion, zero_is_neutral=True)
    return on_own_face(motion, samples, subject, track, options.motion)


def damped_in_silence(values: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """(T, 52) coefficients whose mouth is nearly still where the sound is silent for 0.23 s.

    Args:
        values: at 30 fps, in the order of `NAMES`.
        samples: (n,) at 16 kHz.
    """
    quiet = loudness(samples, len(values)) < _QUIET
    edges = np.flatnonzero(np.diff(np.concatenate([[0], quiet, [0]]).astype(int)))
    factor = np.ones(len(values))
    for start, end in edges.reshape(-1, 2):
        if end - start >= _LEAST:
            place = np.arange(start, end)
            # The ends of the sound need no ramp.
            depth = np.minimum(
                np.where(start > 0, place - start + 1, _RAMP),
                np.where(end < len(values), end - place, _RAMP),
            )
            factor[start:end] = 1 - (1 - _KEPT) * np.minimum(depth / _RAMP, 1)
    mouth = [name.startswith(_MOUTH) and name not in _UNDAMPED for name in NAMES]
    return np.where(mouth, values * factor[:, None], values)


def loudness(samples: np.ndarray, count: int) -> np.ndarray:
    """(count,) root mean square of the frame of sound about each time at 30 fps."""
    total = np.concatenate([[0.0], np.cumsum(np.square(samples, dtype=np.float64))])
    center, half = np.arange(count) * (RATE / FPS), RATE / FPS / 2
    first, last = (np.clip(np.round(center + s * half), 0, len(samples)).astype(int)
                   for s in (-1, 1))  # fmt: skip
    return np.sqrt(np.maximum(total[last] - total[first], 0) / (RATE / FPS))


def smoothed(values: np.ndarray) -> np.ndarray:
    """(T, C) after a Savitzky-Golay filter of five frames, in 0..1."""
    if len(values) < _SMOOTH:
        return values
    return savgol_filter(values, _SMOOTH, _DEGREE, axis=0, mode="mirror").clip(0, 1)
