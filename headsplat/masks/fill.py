"""Smooth filling of holes in images: pull-push, from coarse to fine averages of what is known.

Gortler, Grzeszczuk, Szeliski, Cohen: The Lumigraph, SIGGRAPH 1996.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_FAINT = 1e-6


def fill_holes(values: Tensor, weight: Tensor) -> Tensor:
    """Fill an image where its weight is small; a pixel of weight 1 stays as it is.

    Args:
        values: (B, C, H, W).
        weight: (B, 1, H, W) in 0..1.

    Returns:
        (B, C, H, W); zero everywhere if nothing is known.
    """
    levels = [(values * weight, weight)]
    while max(levels[-1][1].shape[-2:]) > 1:
        # Sizes are rounded up, so that no row is lost; the frame's padding has no weight.
        high, wide = (n + n % 2 for n in levels[-1][1].shape[-2:])
        shrunk = []
        for value in levels[-1]:
            more = (0, wide - value.shape[-1], 0, high - value.shape[-2])
            shrunk.append(4 * F.avg_pool2d(F.pad(value, more), 2))
        total = shrunk[1]
        scale = total.clamp_max(1) / total.clamp_min(_FAINT)
        levels.append((shrunk[0] * scale, total * scale))
    filled, known = levels[-1]
    filled = filled / known.clamp_min(_FAINT)
    for value, share in reversed(levels[:-1]):
        size = share.shape[-2:]
        high, wide = (2 * n for n in filled.shape[-2:])
        coarse = F.interpolate(filled, (high, wide), mode="bilinear", align_corners=False)
        coarse = coarse[..., : size[0], : size[1]]
        filled = value + (1 - share) * coarse
    return filled


def blurred(values: Tensor, radius: int) -> Tensor:
    """Three box filters, about a Gaussian of standard deviation `radius`; edges are repeated.

    Args:
        values: (B, C, H, W).
        radius: pixels; 0 changes nothing.
    """
    if radius < 1:
        return values
    size = 2 * radius + 1
    for _ in range(3):
        for pad, kernel in (
            ((radius, radius, 0, 0), (1, size)),
            ((0, 0, radius, radius), (size, 1)),
        ):
            values = F.avg_pool2d(F.pad(values, pad, mode="replicate"), kernel, stride=1)
    return values


def as_planes(images: Tensor) -> Tensor:
    """(B, H, W, C) or (B, H, W) -> (B, C, H, W)."""
    return images[:, None] if images.ndim == 3 else torch.movedim(images, -1, 1)
