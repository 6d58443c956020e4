"""Float64 reference of `rasterize_gaussians`: the textbook formulas, every pixel against every
Gaussian, differentiated by PyTorch. Slow and plain on purpose; it shares no code with the kernels.

The image formation has steps (a threshold, a stop, a clamp, tiles). Where a pixel stands so near
to a step that float32 may fall on the other side of it, the reference says so in `clear`, and a
comparison leaves that pixel out of both sides.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

TILE = 16


@dataclass
class Reference:
    color: Tensor  # (B, H, W, 3)
    alpha: Tensor  # (B, H, W)
    clear: Tensor  # (B, H, W) bool: no step of the formation is nearby


def _rotation(quaternion: Tensor) -> Tensor:
    w, x, y, z = (quaternion / quaternion.norm(dim=-1, keepdim=True)).unbind(-1)
    rows = (
        torch.stack([w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)], -1),
        torch.stack([2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)], -1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z], -1),
    )
    return torch.stack(rows, -2)


def _tile_mask(center: Tensor, radius: Tensor, size: int) -> Tensor:
    """(N, size) bool: pixels in tiles that the interval center +- radius meets."""
    tiles = (size + TILE - 1) // TILE
    first = torch.trunc((center - radius) / TILE).clamp(0, tiles)
    after = torch.trunc((center + radius + TILE - 1) / TILE).clamp(0, tiles)
    pixel_tile = torch.arange(size, device=center.device) // TILE
    return (pixel_tile >= first[:, None]) & (pixel_tile < after[:, None])


def _frame(means, quats, scales, opacities, colors, R, t, K4, width, height, background, margin):
    fx, fy, cx, cy = K4.tolist()
    camera = means @ R.T + t
    keep = camera[:, 2] > 0.2
    order = torch.argsort(camera[:, 2].detach(), stable=True)
    order = order[keep[order]]
    if len(order) == 0:
        plane = background.expand(height, width, 3) + 0 * means.sum()
        clear = torch.ones(height, width, dtype=torch.bool, device=means.device)
        return plane, torch.zeros_like(plane[..., 0]), clear
    camera, scales, opacities, colors = (v[order] for v in (camera, scales, opacities, colors))
    x, y, z = camera.unbind(-1)
    low_x, high_x = -cx / fx - 0.15 * width / fx, (width - cx) / fx + 0.15 * width / fx
    low_y, high_y = -cy / fy - 0.15 * height / fy, (height - cy) / fy + 0.15 * height / fy
    tx, ty = z * (x / z).clamp(low_x, high_x), z * (y / z).clamp(low_y, high_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack(
        [
            torch.stack([fx / z, zero, -fx * tx / z**2], -1),
            torch.stack([zero, fy / z, -fy * ty / z**2], -1),
        ],
        -2,
    )
    half = _rotation(quats[order]) * scales[:, None, :]
    spread = jacobian @ R @ half
    cov = spread @ spread.transpose(-1, -2) + 0.3 * torch.eye(2, dtype=z.dtype, device=z.device)
    a, b, c = cov[:, 0, 0], cov[:, 0, 1], cov[:, 1, 1]
    largest = (a + c) / 2 + (((a - c) / 2) ** 2 + b * b).clamp_min(0.1).sqrt()
    radius = 3 * largest.sqrt().detach()
    center = torch.stack([fx * x / z + cx - 0.5, fy * y / z + cy - 0.5], -1)
    fixed = center.detach()

    def boxes(slack: float) -> Tensor:
        reach = torch.ceil(radius * (1 + 1e-4 * slack)) + 1e-2 * slack
        columns = _tile_mask(fixed[:, 0], reach, width)
        return _tile_mask(fixed[:, 1], reach, height)[:, :, None] & columns[:, None, :]

    rows = torch.arange(height, dtype=z.dtype, device=z.device)
    columns = torch.arange(width, dtype=z.dtype, device=z.device)
    dx = (columns - center[:, :1])[:, None, :]
    dy = (rows - center[:, 1:])[:, :, None]
    a, b, c = (v[:, None, None] for v in (a, b, c))
    form = (c * dx * dx - 2 * b * dx * dy + a * dy * dy) / (a * c - b * b)
    raw = opacities[:, None, None] * torch.exp(-form / 2)
    alpha = raw.clamp_max(0.99)
    inside = boxes(0.0)
    takes = inside & (alpha >= 1 / 255)
    after = torch.cumprod(torch.where(takes, 1 - alpha, 1.0), 0)
    takes = takes & (after >= 1e-4)
    light = torch.cumprod(torch.where(takes, 1 - alpha, 1.0), 0)
    before = torch.cat([torch.ones_like(light[:1]), light[:-1]])
    weight = torch.where(takes, alpha * before, 0.0)
    color = torch.einsum("nhw,nc->hwc", weight, colors) + light[-1][..., None] * background

    near = (boxes(1.0) != boxes(-1.0)) & (raw > (1 - margin) / 255)
    near |= inside & ((raw * 255 - 1).abs() < margin)
    near |= inside & ((raw / 0.99 - 1).abs() < margin)
    near |= (after / 1e-4 - 1).abs() < 10 * margin
    return color, 1 - light[-1], ~near.any(0)


def rasterize_reference(
    means, quats, scales, opacities, colors, R, t, K4, width, height, background, margin=1e-4
) -> Reference:
    """As `rasterize_gaussians`, in the dtype of the (float64) inputs."""
    batch = len(means)
    parameters = [
        v.expand(batch, *v.shape) if v.dim() == means.dim() - 1 - one else v
        for v, one in ((quats, 0), (scales, 0), (opacities, 1), (colors, 0))
    ]
    K4 = K4.expand(batch, 4)
    background = background.expand(batch, 3)
    frames = [
        _frame(means[i], *(p[i] for p in parameters), R[i], t[i], K4[i], width, height,
               background[i], margin)
        for i in range(batch)
    ]  # fmt: skip
    return Reference(*(torch.stack(parts) for parts in zip(*frames, strict=True)))
