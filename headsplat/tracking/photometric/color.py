"""Appearance model of skin points: albedo times light, both estimated from the clip.

brightness[t, m] = albedo[m] * shade[t, m], shade = harmonics(normal[t, m]) . (light + drift[t]):
second-order spherical harmonics lighting (Ramamoorthi and Hanrahan 2001) in camera axes, and a
small per-frame drift of exposure and direction. Gamma-coded brightness is used, because a power of
a product is the product of powers.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

ROUNDS = 3
# Drifting terms: constant and the three directions.
DRIFTING = 4
# Damping of the light's steps and prior of the drift, relative to the weight of the data.
LIGHT_PRIOR, DRIFT_PRIOR = 1e-4, (1e-4, 0.02, 0.02, 0.02)
# Minimum number of frames that must show a point for an albedo.
SEEN = 3.0


def harmonics(normal: Tensor) -> Tensor:
    """(..., 3) unit normals -> (..., 9), unscaled."""
    x, y, z = normal.unbind(-1)
    rest = [x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1]
    return torch.stack([torch.ones_like(x), x, y, z, *rest], -1)


@dataclass(frozen=True)
class Appearance:
    """Appearance of the clip: albedo (M,), known (M,) 1 where observed, light (9,)."""

    albedo: Tensor
    known: Tensor
    light: Tensor


def fit_appearance(value: Tensor, normal: Tensor, weight: Tensor) -> Appearance:
    """Albedo, light and drift by alternating weighted least squares.

    Args:
        value: (N, M) brightness.
        normal: (N, M, 3) in the camera's axes.
        weight: (N, M).
    """
    light = value.new_zeros(9)
    light[0] = 1.0
    shade = torch.ones_like(value)
    known = (weight.sum(0) > SEEN).to(value.dtype)
    for _ in range(ROUNDS):
        light = light + _light_step(value, shade, normal, weight)
        color = Appearance(_albedo(value, harmonics(normal) @ light, weight), known, light)
        shade = fit_shade(value, color, normal, weight)
    return Appearance(_albedo(value, shade, weight), known, light)


def _albedo(value: Tensor, shade: Tensor, weight: Tensor) -> Tensor:
    pull = weight * shade
    return (pull * value).sum(0) / (pull * shade).sum(0).clamp_min(1e-6)


def _light_step(value: Tensor, shade: Tensor, normal: Tensor, weight: Tensor) -> Tensor:
    """(9,) Gauss-Newton step of the light, with the albedos eliminated (variable projection)."""
    albedo = _albedo(value, shade, weight)
    total = (weight * shade.square()).sum(0).clamp_min(1e-6)
    batches = torch.arange(len(value), device=value.device).split(64)
    follow = value.new_zeros(value.shape[1], 9)
    for rows in batches:
        follow += ((weight[rows] * shade[rows])[..., None] * harmonics(normal[rows])).sum(0)
    follow /= total[:, None]
    matrix, right = value.new_zeros(9, 9), value.new_zeros(9)
    size = value.new_zeros(())
    for rows in batches:
        away = harmonics(normal[rows]) - shade[rows][..., None] * follow
        away = (away * albedo[:, None]).flatten(0, 1)
        pull = away * weight[rows].flatten()[:, None]
        matrix += pull.T @ away
        off = value[rows] - albedo * shade[rows]
        right += pull.T @ off.flatten()
        size += (weight[rows] * albedo.square()).sum()
    prior = LIGHT_PRIOR * size * torch.eye(9, dtype=value.dtype, device=value.device)
    # Light and albedo share a scale ambiguity; the current scale is kept.
    prior[0, 0] = size
    return torch.linalg.solve_ex(matrix + prior, right).result


def fit_shade(value: Tensor, color: Appearance, normal: Tensor, weight: Tensor) -> Tensor:
    """(N, M) shading of each frame: the clip's light plus the frame's drift.

    Args:
        value: (N, M) brightness.
        color: of the clip.
        normal: (N, M, 3).
        weight: (N, M).
    """
    parts = []
    prior = torch.tensor(DRIFT_PRIOR, dtype=value.dtype, device=value.device)
    for rows in torch.arange(len(value), device=value.device).split(64):
        basis = harmonics(normal[rows])
        base = basis @ color.light
        lit = basis[..., :DRIFTING] * (color.albedo * color.known)[:, None]
        pull = lit * weight[rows, :, None]
        matrix = pull.mT @ lit
        off = value[rows] - color.albedo * base
        right = (pull.mT @ off[..., None]).squeeze(-1)
        scale = matrix[:, 0, 0].clamp_min(1e-6)
        matrix = matrix + torch.diag_embed(scale[:, None] * prior + 1e-9)
        drift = torch.linalg.solve_ex(matrix, right).result
        parts.append(base + (basis[..., :DRIFTING] @ drift[..., None]).squeeze(-1))
    return torch.cat(parts).clamp_min(0.05)
