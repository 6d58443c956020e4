"""Initialization before training: anchor spacing, and anchor colors sampled from images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from headsplat.gaussians.deform.base import InitialState
from headsplat.gaussians.raster.gaussians import rasterize_gaussians

# Opacity of the disks used to sample colors: high enough to occlude the back of the head.
_DISK_OPACITY = 0.8
# Splat weight, in pixels, below which an anchor counts as unseen.
_SEEN = 0.5
# Lower bounds of the standard deviations that normalize codes: a coefficient almost constant in the
# clip must not become unit noise.
CONDITION_FLOOR = 0.05
POSE_FLOOR = 0.05
# Training noise on the pose relative to that on the codes: shading follows the pose, and too much
# noise blurs it.
POSE_NOISE = 0.3


@dataclass(frozen=True)
class View:
    """One batch of training frames for color sampling.

    Attributes:
        positions: (B, N, 3) anchors, meters.
        rotations: (B, N, 4) quaternions of the anchors' triangles.
        rotation: (B, 3, 3) head to camera.
        translation: (B, 3) meters.
        intrinsics: (B, 4) pixels.
        images: (B, H, W, 5) uint8, see `headsplat.train.dataset`.
    """

    positions: Tensor
    rotations: Tensor
    rotation: Tensor
    translation: Tensor
    intrinsics: Tensor
    images: Tensor


def nearest(points: Tensor, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` nearest of `points` to each query, exactly: brute force in blocks.

    Args:
        points: (N, 3).
        queries: (Q, 3).
        count: neighbors per query, at most N.

    Returns:
        (Q, count) squared distances in ascending order, and (Q, count) long indices.
    """
    # Block size limits the distance matrix to 2**22 numbers.
    block = max(1, 2**22 // max(1, len(points)))
    distances, indices = [], []
    for part in queries.split(block):
        square = torch.cdist(part, points, compute_mode="donot_use_mm_for_euclid_dist").square()
        best = square.topk(min(count, len(points)), dim=1, largest=False, sorted=True)
        distances.append(best.values)
        indices.append(best.indices)
    return torch.cat(distances), torch.cat(indices)


def mean_square_distance(points: Tensor, count: int = 3) -> Tensor:
    """(N, 3) -> (N,): mean squared distance to the `count` nearest other points (as in 3DGS)."""
    square, _ = nearest(points, points, count + 1)
    return square[:, 1:].mean(1)


def anchor_spacing(points: Tensor) -> Tensor:
    """(N, 3) -> (N,) meters: root mean square distance to the 3 nearest, within 0.2 to 8 mm."""
    return mean_square_distance(points).sqrt().clamp(2e-4, 8e-3)


def anchor_colors(
    views: list[View], spacing: Tensor, opacity: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean image color at each anchor, weighted by its splat weight in each pixel.

    A render is linear in the colors, so its gradient with respect to them is the splat weight w.
    One backward pass gives sum(w * image), another sum(w * matte) and sum(w), per frame.

    Args:
        views: batches of frames.
        spacing: (N,) meters.
        opacity: (N,) of the disks.

    Returns:
        colors (N, 3), undefined for unseen anchors; matte share (N,) of each anchor's weight, a low
        quantile over frames, which carves away anchors seen as background; seen (N,) bool.
    """
    scale = torch.stack([spacing, spacing, spacing / 4], -1)
    total = spacing.new_zeros(len(spacing), 3)
    inside: list[Tensor] = []
    weight: list[Tensor] = []
    for view in views:
        height, width = view.images.shape[1:3]
        matte = view.images[..., 3:4].float() / 255
        image = view.images[..., :3].float() / 255 * matte
        colors = view.positions.new_zeros(view.positions.shape).requires_grad_(True)
        black = torch.zeros(len(view.images), 3, device=spacing.device)
        rendered, _ = rasterize_gaussians(
            view.positions, view.rotations, scale, opacity, colors,
            view.rotation, view.translation, view.intrinsics, width, height, black,
        )  # fmt: skip
        (seen,) = torch.autograd.grad(rendered, colors, image, retain_graph=True)
        masks = torch.cat([matte, torch.ones_like(matte), torch.zeros_like(matte)], -1)
        (sums,) = torch.autograd.grad(rendered, colors, masks)
        total += seen.sum(0)
        inside.append(sums[..., 0])
        weight.append(sums[..., 1])
    within, shown = torch.cat(inside), torch.cat(weight)
    share = within / shown.clamp_min(1e-6)
    share = torch.where(shown > _SEEN, share, 1.0).sort(0).values[len(share) // 10]
    summed = within.sum(0)
    return total / summed[:, None].clamp_min(1e-6), share, summed > _SEEN


def fill_unseen(colors: Tensor, seen: Tensor, points: Tensor) -> Tensor:
    """Give unseen anchors the color of the nearest seen one (gray if none was seen)."""
    if not seen.any():
        return torch.full_like(colors, 0.5)
    _, index = nearest(points[seen], points, 1)
    return torch.where(seen[:, None], colors, colors[seen][index[:, 0]])


def noise_sizes(condition: Tensor, pose: Tensor) -> Tensor:
    """Training noise of size 1, in the units of standardized codes (`standardize`).

    It is each entry's own standard deviation over the training frames, without the floor of its
    normalization. Noise must not exceed what the clip shows: an entry that is almost constant
    gets almost none.

    Args:
        condition: (T, C) codes of all training frames.
        pose: (T, P) further entries; their noise is `POSE_NOISE` of their deviation.

    Returns:
        (C + P,).
    """
    code, head = (value.std(0, correction=0) for value in (condition, pose))
    return torch.cat(
        [code / code.clamp_min(CONDITION_FLOOR), POSE_NOISE * head / head.clamp_min(POSE_FLOOR)]
    )


def initial_state(
    rest_points: Tensor,
    lifted: Tensor,
    views: list[View],
    condition: Tensor,
    pose: Tensor,
    parts: Tensor,
    lid_growth: Tensor,
) -> InitialState:
    """Initial state of a deformation model.

    Args:
        rest_points: (N, 3) anchors on the neutral head, heights included.
        lifted: (N,) bool, anchors above the surface (hair shells).
        views: training frames for color sampling.
        condition: (T, C) codes of all training frames.
        pose: (T, 6) head poses of all training frames.
        parts: (N,) as in `InitialState`.
        lid_growth: (N, 2, 2), likewise.
    """
    spacing = anchor_spacing(rest_points)
    disks = torch.full_like(spacing, _DISK_OPACITY)
    first_colors, first_share, front = anchor_colors(views, spacing, disks)
    # Anchors carved away in the first pass do not occlude in the second.
    disks = disks * first_share.clamp(0.02, 1) ** 2
    colors, share, seen = anchor_colors(views, spacing, disks)
    colors = torch.where(seen[:, None], colors, first_colors)
    share, seen = torch.minimum(share, first_share), seen | front
    # A disk that mostly covers background (a hair shell above short hair) starts transparent.
    opacity = 0.02 + 0.88 * share.clamp(0, 1) ** 2
    # Occluded anchors are kept for other viewpoints, except hair shells, which must be seen.
    opacity = torch.where(seen, opacity, torch.where(lifted, 0.02, 0.3))
    return InitialState(
        rest_positions=rest_points,
        spacing=spacing,
        colors=fill_unseen(colors, seen, rest_points),
        opacities=opacity,
        condition_mean=condition.mean(0),
        condition_scale=condition.std(0, correction=0).clamp_min(CONDITION_FLOOR),
        condition_range=torch.stack([condition.amin(0), condition.amax(0)]),
        pose_mean=pose.mean(0),
        pose_scale=pose.std(0, correction=0).clamp_min(POSE_FLOOR),
        parts=parts,
        lid_growth=lid_growth,
    )
