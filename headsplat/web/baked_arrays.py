"""A flashavatar avatar as arrays for a browser: its network reduced, and what that costs."""

import math

import numpy as np
import torch
from torch import Tensor

from headsplat.avatar import WHITE, Avatar
from headsplat.gaussians.deform.base import Gaussians
from headsplat.gaussians.deform.codes import camera_center
from headsplat.runtime.errors import UserError
from headsplat.runtime.logs import log
from headsplat.track import Track
from headsplat.web.bake import Baked, bake, baked_gaussians
from headsplat.web.gaussian_arrays import stored
from headsplat.web.head_arrays import in_steps

# PSNR of the head against the network, on frames that were not used: less is refused.
LEAST = 42.0
# Numbers of a Gaussian: offset, turn, factor on the logarithm of the scale; largest whole numbers.
_SIZES, _MOST = (3, 4, 3), (4095, 63, 63)
# Of the frames, parts of this length are kept for the measurement, one of five.
_PART, _EVERY, _MEASURED = 10, 5, 16
_CONSTANT_STEPS, _REST_STEPS = 2047, 127  # of coefficients of degree 0, and of the others


def baked_arrays(
    avatar: Avatar, track: Track, bases: int, precision: str, limits: Tensor
) -> dict[str, np.ndarray]:
    """Arrays of an avatar with a `FlashAvatarDeformation`; logs the error of the reduction.

    Args:
        avatar: the avatar, on the CPU.
        track: of its clip.
        bases: K, most bases.
        precision: of the option.
        limits: (2, C) lowest and highest code.

    Returns:
        gaussians/base (10 N,), offsets (K, 3 N), bases (K, 7 N) and scales (K, blocks, 3), after
        the hyperbolic tangent; network/... as of `blendshape_arrays`, without the head's rotation;
        constants/rotation (N, 4), log_scale (N, 3), opacity (N,); constants/harmonics (k, N) and
        harmonic_scale (k,): coefficients, those of red, green and blue in turn.

    Raises:
        UserError: the reduction is worse than `LEAST`, or the track has too few frames.
    """
    codes, held_out = track.codes().vector, _held_out(len(track))
    if (~held_out).sum() < 2 or not held_out.any():
        raise UserError(
            f"{len(track)} frames in the track, a web page of this model needs {_PART * _EVERY}; "
            "train blendshapes"
        )
    model, limits = avatar.deformation, limits.float()
    baked = bake(model, codes[~held_out], bases, limits)
    rows = np.flatnonzero(held_out.numpy())
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), _MEASURED)).astype(int)]
    error = measured(avatar, baked, track[rows])
    log.info(
        "network reduced to %d bases: %.1f dB of the head against it, on frames that were not used",
        len(baked.bases), error,
    )  # fmt: skip
    if error < LEAST:
        raise UserError(
            f"the reduced network is {error:.1f} dB from the exact one, a web page needs {LEAST:g};"
            " give web.bases more, or train blendshapes"
        )
    return _gaussians(baked, precision) | _network(baked, limits) | _constants(model)


def _held_out(count: int) -> Tensor:
    """(T,) bool: frames that only the measurement uses, in parts, since neighbors are alike."""
    return torch.arange(count) // _PART % _EVERY == _EVERY - 1


@torch.no_grad()
def measured(avatar: Avatar, baked: Baked, track: Track) -> float:
    """PSNR in dB of the head (alpha above one half), against the exact network, over all frames."""
    batch = avatar.as_batch(track)
    condition, rotation, translation = batch.code.vector, batch.rotation, batch.translation
    total, count = 0.0, 0
    for row in range(len(rotation)):
        pose = rotation[row : row + 1], translation[row : row + 1]
        code = condition[row : row + 1]
        positions, _ = avatar.place(avatar.vertices(code))
        reduced = baked_gaussians(avatar, baked.numbers(code), positions, camera_center(*pose))
        exact = avatar.gaussians(code, *pose, head_only=True)
        images = [_drawn(avatar, g, pose, batch) for g in (exact, reduced)]
        head = images[0][1] > 0.5
        total += float((images[0][0] - images[1][0])[head].square().sum())
        count += 3 * int(head.sum())
    return -10 * math.log10(max(total / max(count, 1), 1e-12))


def _drawn(avatar: Avatar, gaussians: Gaussians, pose: tuple[Tensor, Tensor], batch):
    """Color clamped to 0..1 and alpha of one frame on white."""
    camera = batch.intrinsics.expand(1, 4), batch.width, batch.height, torch.tensor(WHITE)
    color, alpha = avatar.rasterize(gaussians, *pose, *camera)
    return color.clamp(0, 1), alpha


def _gaussians(baked: Baked, precision: str) -> dict[str, np.ndarray]:
    """The mean and the bases, each attribute contiguous over the Gaussians."""
    ends = np.cumsum(_SIZES)[:-1].tolist()

    def blocks(values: Tensor) -> np.ndarray:
        parts = values.double().tensor_split(ends, -1)
        return torch.cat([part.flatten(-2) for part in parts], -1).numpy()

    return stored("gaussians", blocks(baked.mean), blocks(baked.bases), _SIZES, precision, _MOST)


def _network(baked: Baked, limits: Tensor) -> dict[str, np.ndarray]:
    network = baked.network
    values = {
        "hidden": network.hidden.weight, "hidden_bias": network.hidden.bias,
        "output": network.output.weight, "output_bias": network.output.bias,
        "linear": network.linear.weight, "mean": baked.code_mean, "scale": baked.code_scale,
        "range": limits,
    }  # fmt: skip
    return {f"network/{k}": v.detach().numpy().astype(np.float32) for k, v in values.items()}


def _constants(model) -> dict[str, np.ndarray]:
    """What does not change with the frame."""
    used = (model.active_degree + 1) ** 2
    harmonics = torch.cat([model.features_dc, model.features_rest], 1)[:, :used]
    rows = harmonics.detach().flatten(1).T.double().numpy()
    first, first_scale = in_steps(rows[:3], _CONSTANT_STEPS)
    rest, rest_scale = in_steps(rows[3:], _REST_STEPS)
    return {
        "constants/rotation": model.rotation_base.detach().numpy().astype(np.float16),
        "constants/log_scale": model.scaling_base.detach().numpy().astype(np.float32),
        "constants/opacity": torch.sigmoid(model.opacity[:, 0]).detach().numpy().astype(np.float16),
        "constants/harmonics": np.concatenate([first, rest]),
        "constants/harmonic_scale": np.concatenate([first_scale, rest_scale]),
    }
