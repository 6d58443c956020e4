"""DiffPoseTalk's style encoder: the manner of speaking of a FLAME track as a vector.

A checkpoint has 50 entries. A style is the mean over windows of 100 frames at 25 fps.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from headsplat.networks.checkpoints import load_strict
from headsplat.networks.torch_archive import TorchArchive
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npy
from headsplat.runtime.logs import log
from headsplat.speech.diffposetalk.layers import EncoderLayer, Layers, sinusoids
from headsplat.speech.diffposetalk.settings import StyleSettings, read_style_settings
from headsplat.speech.diffposetalk.stats import Stats, track_codes
from headsplat.track import Track

_MOST_WINDOWS = 500  # at once


class StyleEncoder(nn.Module):
    """The encoder, with the parameter names of the official one.

    Args:
        settings: of the encoder.
    """

    def __init__(self, settings: StyleSettings) -> None:
        super().__init__()
        self.settings = settings
        width = settings.feature_dim
        self.motion_proj = nn.Linear(settings.motion_dim, width)
        hidden = settings.mlp_ratio * width
        self.transformer = Layers(
            [EncoderLayer(width, settings.n_heads, hidden) for _ in range(settings.n_layers)]
        )

    def forward(self, motion: Tensor) -> Tensor:
        """(B, N, motion) normalized windows -> (B, width)."""
        # The official code adds the row of the sequence's length to every frame.
        row = sinusoids(torch.tensor([motion.shape[1]]), self.settings.feature_dim)
        x = self.motion_proj(motion) + row.to(motion)
        for layer in self.transformer.layers:
            x = layer(x)
        return x.mean(1)


def load_style_encoder(path: Path | str) -> StyleEncoder:
    """Load an official checkpoint, `iter_<n>.pt` of an experiment `SE`.

    Raises:
        UserError: not a complete archive, no style encoder, or other entries or shapes than its
            options call for.
    """
    with TorchArchive(path) as archive:
        settings = read_style_settings(archive.options("args"), str(path))
        state = {k: archive.read(v) for k, v in archive.table("encoder").items()}
    with torch.device("meta"):
        encoder = StyleEncoder(settings)
    load_strict(encoder, state, path)
    return encoder.eval().requires_grad_(False)


@torch.no_grad()
def style_of(track: Track, encoder: StyleEncoder, stats: Stats) -> np.ndarray:
    """(width,) style of a FLAME track, the mean over its whole windows.

    A track shorter than a window is one window.

    Raises:
        UserError: see `track_codes`.
    """
    own = encoder.settings
    codes = stats.normalized(*track_codes(track, own.fps), with_head=not own.no_head_pose)
    span = min(own.n_motions, len(codes))
    if span < own.n_motions:
        log.warning("style: the track has %d frames, fewer than %d", span, own.n_motions)
    windows = torch.from_numpy(codes[: len(codes) // span * span]).float().unflatten(0, (-1, span))
    styles = [encoder(part) for part in windows.split(_MOST_WINDOWS)]
    return torch.cat(styles).mean(0).numpy()


def read_style(path: Path, width: int) -> np.ndarray:
    """Read a style (width,) that the official code or `style_of` made, `.npy`.

    Raises:
        UserError: unreadable, of another length, or not finite.
    """
    style = read_npy(path)
    if style.shape != (width,) or style.dtype.kind != "f" or not np.isfinite(style).all():
        raise UserError(
            f"{path}: is {style.dtype} of shape {list(style.shape)}, expected finite numbers of "
            f"[{width}]; give a style of this model's encoder"
        )
    return style.astype(np.float32)
