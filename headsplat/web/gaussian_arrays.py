"""Gaussians of a deformation and of a torso as arrays for a browser: a base and K bases of it.

Bases are floats, or whole numbers with one scale for each basis, attribute and `BLOCK` of
neighboring Gaussians, because a mouth moves more than a scalp. Offsets get 13 bits, since they
decide which of two close Gaussians is in front; among floats they have 32 bits, the others 16. The
base is 16-bit floats, of 32 bits beside bases of floats. All are in the units of the rasterizer's
input: meters, logarithms of meters, logits.
"""

from collections.abc import Sequence

import numpy as np

from headsplat.gaussians.deform.blendshapes import LAYOUT, BlendshapeDeformation
from headsplat.gaussians.deform.torso import Torso
from headsplat.web.options import FP16

# Gaussians that share a scale; `COLUMNS` of shaders.js is the same.
BLOCK = 512
SIZES = tuple(size for _, size, _ in LAYOUT)
# Largest whole number of each attribute: offset, quaternion, log scale, opacity, color.
STEPS = (4095, 63, 31, 31, 63)


def blendshape_arrays(model: BlendshapeDeformation, precision: str) -> dict[str, np.ndarray]:
    """Arrays `gaussians/...` and `network/...`.

    Args:
        model: N Gaussians, K bases, a code of C numbers and the head's rotation, 6D.
        precision: of the option.

    Returns:
        gaussians/base (14 N,), gaussians/offsets (K, 3 N), gaussians/bases (K, 11 N) and
        gaussians/scales (K, blocks, 5), in the order of `LAYOUT` with each attribute contiguous
        over the Gaussians; the network that turns a code into weights: network/hidden (H, C + 6)
        and hidden_bias (H,), output (K, H) and output_bias (K,), linear (K, C + 6), mean and scale
        (C + 6,), range (2, C + 6).
    """
    rows = _numbers(model.weights) * _numbers(model.units)
    network = {
        "hidden": model.hidden.weight, "hidden_bias": model.hidden.bias,
        "output": model.output.weight, "output_bias": model.output.bias,
        "linear": model.linear.weight, "mean": model.code_mean, "scale": model.code_scale,
        "range": model.code_range,
    }  # fmt: skip
    return stored("gaussians", rows[0], rows[1:], SIZES, precision) | {
        f"network/{name}": _numbers(value).astype(np.float32) for name, value in network.items()
    }


def torso_arrays(torso: Torso, precision: str) -> dict[str, np.ndarray]:
    """Arrays `torso/...` of M Gaussians: rest (M, 3), base and bases, mean, scale and range."""
    rows = _numbers(torso.weights) * _numbers(torso.units)
    arrays = stored("torso", rows[0], rows[1:], SIZES, precision)
    values = {
        "rest": torso.rest, "mean": torso.code_mean, "scale": torso.code_scale,
        "range": torso.code_range,
    }  # fmt: skip
    return arrays | {f"torso/{k}": _numbers(v).astype(np.float32) for k, v in values.items()}


def stored(
    name: str,
    base: np.ndarray,
    bases: np.ndarray,
    sizes: Sequence[int],
    precision: str,
    most: Sequence[int] = STEPS,
) -> dict[str, np.ndarray]:
    """`name`/base, offsets, bases and scales.

    Args:
        name: prefix of the arrays.
        base: (P N,), one contiguous block of N numbers for each of the P numbers of `sizes`.
        bases: (K, P N).
        sizes: numbers per Gaussian of each attribute, the offset's first; their sum is P.
        precision: of the option.
        most: largest whole number of each attribute.
    """
    count = len(base) // sum(sizes)
    blocks = -(-count // BLOCK)
    arrays = {f"{name}/base": base.astype(np.float16)}
    parts = np.split(bases, np.cumsum(sizes)[:-1] * count, axis=1)
    if precision == FP16:
        arrays[f"{name}/base"] = _single(base)
        parts = [_single(parts[0]), *(part.astype(np.float16) for part in parts[1:])]
        scales = np.ones((len(bases), blocks, len(sizes)), np.float32)
    else:
        pairs = [
            _in_blocks(part, BLOCK * size, largest)
            for part, size, largest in zip(parts, sizes, most, strict=True)
        ]
        parts, scales = [steps for steps, _ in pairs], np.stack([scale for _, scale in pairs], -1)
        parts = [parts[0].astype(np.int16), *(part.astype(np.int8) for part in parts[1:])]
    arrays[f"{name}/offsets"], arrays[f"{name}/bases"] = parts[0], np.concatenate(parts[1:], 1)
    return arrays | {f"{name}/scales": scales}


def _in_blocks(rows: np.ndarray, length: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(K, n) -> whole numbers up to `most`, (K, n), and the scale of each block of `length`."""
    count = rows.shape[1]
    padded = np.pad(rows, ((0, 0), (0, -count % length))).reshape(len(rows), -1, length)
    scale = (np.abs(padded).max(2) / most).astype(np.float32)
    whole = np.rint(padded / np.where(scale > 0, scale, 1)[..., None]).clip(-most, most)
    return whole.reshape(len(rows), -1)[:, :count], scale


def _single(values: np.ndarray) -> np.ndarray:
    """float32, infinite beyond half floats, which hold them in the page's textures."""
    return np.where(np.abs(values) <= np.finfo(np.float16).max, values, np.inf).astype(np.float32)


def _numbers(tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
