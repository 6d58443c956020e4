"""Real spherical harmonics for view-dependent colors, in 3DGS's order and signs."""

import torch
from torch import Tensor

from headsplat.gaussians.raster.operators import Operator

C0 = 0.28209479177387814

_harmonic_colors = Operator(
    "harmonic_colors",
    lambda constant, rest, means, *_: torch.empty_like(means),
    differentiable=3,
)


def harmonic_colors(
    constant: Tensor, rest: Tensor, means: Tensor, centers: Tensor, degree: int
) -> Tensor:
    """Colors as 3DGS evaluates them, max(0, sum + 0.5), of Gaussians seen by cameras.

    Gradients to coefficients and means are exact; see `cuda_ext/csrc/harmonics.h`. Sums over frames
    have a fixed order, so results are bit-equal between runs.

    Args:
        constant: (N, 1, 3) float32 coefficients of degree 0.
        rest: (N, M, 3) float32, coefficients of higher degrees, M >= (degree + 1)^2 - 1; unused
            ones get a gradient of zero.
        means: (B, N, 3) float32 meters.
        centers: (B, 3) float32 the cameras' centers in the same frame. No gradient.
        degree: 0 to 3.

    Returns:
        (B, N, 3).

    Raises:
        TypeError: a tensor has the wrong type.
        ValueError: a shape, device or memory layout is wrong; all must be contiguous.
        UserError: the operators cannot be built, or not for this device.
    """
    return _harmonic_colors(constant, rest, means, centers, degree)


def constant_coefficient(color: Tensor) -> Tensor:
    """Degree-0 coefficient of a view-independent color."""
    return (color - 0.5) / C0
