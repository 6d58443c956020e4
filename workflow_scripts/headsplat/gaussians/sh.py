"""Real spherical harmonics up to degree 3, in 3DGS's order and signs."""

import torch
from torch import Tensor

C0 = 0.28209479177387814
_C1 = 0.4886025119029199
_C2 = (1.0925484305920792, -1.0925484305920792, 0.31539156525252005, 0.5462742152960396)
_C3 = (
    -0.5900435899266435, 2.890611442640554, -0.4570457994644658, 0.3731763325901154,
    1.445305721320277,
)  # fmt: skip


def basis(directions: Tensor, degree: int) -> Tensor:
    """Values of the (degree + 1)^2 basis functions at unit directions (..., 3).

    Returns:
        (..., (degree + 1)^2), in memory one function after the other.
    """
    # Contiguous planes: every operation below reads and writes whole cache lines.
    x, y, z = directions.movedim(-1, 0).contiguous()
    values = [torch.full_like(x, C0)]
    if degree > 0:
        values += [-_C1 * y, _C1 * z, -_C1 * x]
    if degree > 1:
        xx, yy, zz, xy = x * x, y * y, z * z, x * y
        round_z, round_xy = 2 * zz - xx - yy, xx - yy
        values += [
            _C2[0] * xy,
            _C2[1] * y * z,
            _C2[2] * round_z,
            _C2[1] * x * z,
            _C2[3] * round_xy,
        ]
    if degree > 2:
        steep_z = _C3[2] * (round_z + 2 * zz)
        values += [
            _C3[0] * y * (3 * xx - yy),
            _C3[1] * xy * z,
            steep_z * y,
            _C3[3] * z * (2 * zz - 3 * xx - 3 * yy),
            steep_z * x,
            _C3[4] * z * round_xy,
            _C3[0] * x * (xx - 3 * yy),
        ]
    return torch.stack(values).movedim(0, -1)


def colours(coefficients: Tensor, directions: Tensor, degree: int) -> Tensor:
    """Colours as 3DGS evaluates them: max(0, sum + 0.5).

    Args:
        coefficients: (N, M, 3) with M >= (degree + 1)^2; those of higher degrees are not used.
        directions: (..., N, 3) unit vectors from the camera to the Gaussian, world frame.
        degree: 0 to 3.

    Returns:
        (..., N, 3).
    """
    values = basis(directions, degree).movedim(-1, 0)
    used = coefficients[:, : (degree + 1) ** 2].permute(2, 1, 0).contiguous()
    used = used.reshape(3, -1, *(1,) * (values.ndim - 2), len(coefficients))
    # A product and a sum over planes; as N small matrix products this takes longer.
    total = (used * values).sum(1)
    return (total + 0.5).clamp_min(0).movedim(0, -1)


def constant_coefficient(colour: Tensor) -> Tensor:
    """The degree-0 coefficient that shows `colour` from every side."""
    return (colour - 0.5) / C0
