"""Rotation conversions in torch: matrix, 6D (Zhou et al., CVPR 2019), axis-angle, quaternion.

Matrices act on column vectors; quaternions are (w, x, y, z). The 6D form is the first two ROWS of
the matrix, as in PyTorch3D and metrical-tracker's `.frame` files. Other libraries use columns,
which decode to the inverse rotation.
"""

import torch
from torch import Tensor


def matrix_to_6d(matrix: Tensor) -> Tensor:
    """(..., 3, 3) -> (..., 6): the first two rows, flattened."""
    return matrix[..., :2, :].reshape(*matrix.shape[:-2], 6)


def matrix_from_6d(six: Tensor) -> Tensor:
    """(..., 6) -> (..., 3, 3): Gram-Schmidt on two rows; the third row is their cross product."""
    a, b = six[..., :3], six[..., 3:]
    first = torch.nn.functional.normalize(a, dim=-1)
    second = b - (first * b).sum(-1, keepdim=True) * first
    second = torch.nn.functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-2)


def matrix_from_axis_angle(vector: Tensor) -> Tensor:
    """Rodrigues' formula, (..., 3) radians -> (..., 3, 3); smooth and differentiable at zero."""
    square = (vector * vector).sum(-1)[..., None, None]
    small = square < 1e-8
    angle = torch.where(small, torch.ones_like(square), square).sqrt()
    sine = torch.where(small, 1 - square / 6, torch.sin(angle) / angle)
    cosine = torch.where(small, 0.5 - square / 24, (1 - torch.cos(angle)) / angle.square())
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1)
    cross = cross.reshape(*vector.shape[:-1], 3, 3)
    eye = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return eye + sine * cross + cosine * (cross @ cross)


def axis_angle_from_matrix(matrix: Tensor) -> Tensor:
    """(..., 3, 3) -> (..., 3) radians, via the quaternion, which is stable at any angle."""
    quaternion = quaternion_from_matrix(matrix)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)
    axis = quaternion[..., 1:]
    length = axis.norm(dim=-1, keepdim=True)
    angle = 2 * torch.atan2(length, quaternion[..., :1])
    return torch.where(length < 1e-7, 2 * axis, axis * angle / length.clamp_min(1e-12))


def quaternion_from_matrix(matrix: Tensor) -> Tensor:
    """(..., 3, 3) -> (..., 4): of four equivalent formulas the one with the largest divisor."""
    m = matrix
    d0, d1, d2 = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    yz, zx, xy = (
        m[..., 2, 1] - m[..., 1, 2],
        m[..., 0, 2] - m[..., 2, 0],
        m[..., 1, 0] - m[..., 0, 1],
    )
    yz_, zx_, xy_ = (
        m[..., 2, 1] + m[..., 1, 2],
        m[..., 0, 2] + m[..., 2, 0],
        m[..., 1, 0] + m[..., 0, 1],
    )
    forms = torch.stack(
        [
            torch.stack([1 + d0 + d1 + d2, yz, zx, xy], -1),
            torch.stack([yz, 1 + d0 - d1 - d2, xy_, zx_], -1),
            torch.stack([zx, xy_, 1 - d0 + d1 - d2, yz_], -1),
            torch.stack([xy, zx_, yz_, 1 - d0 - d1 + d2], -1),
        ],
        -2,
    )
    best = torch.stack([d0 + d1 + d2, d0 - d1 - d2, d1 - d0 - d2, d2 - d0 - d1], -1).argmax(-1)
    picked = forms.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    return torch.nn.functional.normalize(picked, dim=-1)


def matrix_from_quaternion(quaternion: Tensor) -> Tensor:
    """(..., 4) -> (..., 3, 3); the quaternion is normalized first."""
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, -1).reshape(*quaternion.shape[:-1], 3, 3)


def mean_rotation(matrices: Tensor, weights: Tensor | None = None) -> Tensor:
    """(N, 3, 3) rotations with weights (N,) or all equal -> (3, 3), their chordal L2 mean."""
    total = matrices.mean(0) if weights is None else (matrices * weights[:, None, None]).sum(0)
    left, _, right = torch.linalg.svd(total)
    sign = torch.ones_like(total[0])
    sign[2] = torch.linalg.det(left @ right).sign()
    return left @ (sign[:, None] * right)


def slerp(start: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Rotations (..., 3, 3) by fractions (..., 1) of the way from `start` to `end`."""
    return start @ matrix_from_axis_angle(share * axis_angle_from_matrix(start.mT @ end))
