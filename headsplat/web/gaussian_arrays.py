"""Gaussians of a deformation and of a torso as arrays for a browser: a base and K bases of it.

Bases are 8-bit numbers with one scale for each basis and attribute, or 16-bit floats. The base is
16-bit floats. All are in the units of the rasterizer's input: meters, logarithms of meters, logits.
"""

from collections.abc import Sequence

import numpy as np

from headsplat.gaussians.deform.blendshapes import LAYOUT, BlendshapeDeformation
from headsplat.gaussians.deform.torso import Torso

INT8, FP16 = "int8", "fp16"
PRECISIONS = (INT8, FP16)
_STEPS = 127  # of an 8-bit number; -128 is not used
SIZES = tuple(size for _, size, _ in LAYOUT)


def blendshape_arrays(model: BlendshapeDeformation, precision: str) -> dict[str, np.ndarray]:
    """Arrays `gaussians/...` and `network/...`.

    Args:
        model: N Gaussians, K bases, a code of C numbers and the head's rotation, 6D.
        precision: of `PRECISIONS`.

    Returns:
        gaussians/base (14 N,), gaussians/bases (K, 14 N), gaussians/scales (K, 5), in the order of
        `LAYOUT` with each attribute contiguous over the Gaussians; the network that turns a code
        into weights: network/hidden (H, C + 6) and hidden_bias (H,), output (K, H) and output_bias
        (K,), linear (K, C + 6), mean and scale (C + 6,), range (2, C + 6).
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
    """Arrays `torso/...` of M Gaussians: rest (M, 3), base, bases, scales, mean, scale, range."""
    rows = _numbers(torso.weights) * _numbers(torso.units)
    arrays = stored("torso", rows[0], rows[1:], SIZES, precision)
    values = {
        "rest": torso.rest, "mean": torso.code_mean, "scale": torso.code_scale,
        "range": torso.code_range,
    }  # fmt: skip
    return arrays | {f"torso/{k}": _numbers(v).astype(np.float32) for k, v in values.items()}


def stored(
    name: str, base: np.ndarray, bases: np.ndarray, sizes: Sequence[int], precision: str
) -> dict[str, np.ndarray]:
    """`name`/base, bases and scales.

    Args:
        name: prefix of the arrays.
        base: (P N,), one contiguous block of N numbers for each of the P numbers of `sizes`.
        bases: (K, P N).
        sizes: numbers per Gaussian of each attribute; their sum is P.
        precision: of `PRECISIONS`.
    """
    arrays = {f"{name}/base": base.astype(np.float16)}
    if precision == FP16:
        scales = np.ones((len(bases), len(sizes)), np.float32)
        return arrays | {f"{name}/bases": bases.astype(np.float16), f"{name}/scales": scales}
    count = len(base) // sum(sizes)
    parts = np.split(bases, np.cumsum(sizes)[:-1] * count, axis=1)
    scales = np.stack([np.abs(part).max(1, initial=0) for part in parts], 1) / _STEPS
    scales = scales.astype(np.float32)
    each = np.repeat(np.where(scales > 0, scales, 1), np.array(sizes) * count, axis=1)
    steps = np.rint(bases / each).clip(-_STEPS, _STEPS).astype(np.int8)
    return arrays | {f"{name}/bases": steps, f"{name}/scales": scales}


def _numbers(tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
