"""What is known before the first step: how anchors lie, what colors the images show there."""

from dataclasses import dataclass

import torch
from torch import Tensor

from headsplat.gaussians.deform.base import Start
from headsplat.gaussians.knn import mean_square_distance, nearest
from headsplat.gaussians.raster.gaussians import rasterize_gaussians

# Opacity of the disks that look up colors: high enough to hide the back of the head.
_DISK_OPACITY = 0.8
# An anchor whose weight is less than this many pixels was not seen.
_SEEN = 0.5
# Floors of the standard deviations by which codes are divided: a coefficient that hardly moved in
# the clip must not be blown up to a unit signal of noise.
CONDITION_FLOOR = 0.05
POSE_FLOOR = 0.05


@dataclass(frozen=True)
class View:
    """One batch of training frames for looking up colors.

    Attributes:
        positions: (B, N, 3) anchors, metres.
        rotations: (B, N, 4) of their triangles.
        rotation: (B, 3, 3) head to camera.
        translation: (B, 3) metres.
        intrinsics: (B, 4) pixels.
        images: (B, H, W, 5) uint8, see `headsplat.train.dataset`.
    """

    positions: Tensor
    rotations: Tensor
    rotation: Tensor
    translation: Tensor
    intrinsics: Tensor
    images: Tensor


def anchor_spacing(points: Tensor) -> Tensor:
    """(N, 3) -> (N,) metres: root mean square distance to the 3 nearest, within 0.2 to 8 mm."""
    return mean_square_distance(points).sqrt().clamp(2e-4, 8e-3)


def observe(views: list[View], spacing: Tensor, opacity: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean color at each anchor, weighted by how much its disk shows in each pixel.

    A render is linear in the colors, so its gradient with respect to them IS the splat weight:
    one backward pass gives sum(w * image), another sum(w * matte) and sum(w), frame by frame.

    Args:
        views: batches of frames.
        spacing: (N,) metres.
        opacity: (N,) of the disks.

    Returns:
        colors (N, 3); the share of an anchor's weight that lies inside the matte (N,), of the
        frames that show it a low one, so that what some view shows to be air is carved away;
        which anchors were seen (N,) bool. Colors of the others are meaningless.
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
    """Give anchors no image showed the color of the nearest that one did (gray if none)."""
    if not seen.any():
        return torch.full_like(colors, 0.5)
    _, index = nearest(points[seen], points, 1)
    return torch.where(seen[:, None], colors, colors[seen][index[:, 0]])


def make_start(
    rest_points: Tensor,
    lifted: Tensor,
    views: list[View],
    condition: Tensor,
    pose: Tensor,
) -> Start:
    """Collect a model's start.

    Args:
        rest_points: (N, 3) anchors on the neutral head, heights included.
        lifted: (N,) bool, anchors that stand off the surface.
        views: training frames to take colors from.
        condition: (T, C) codes of all training frames.
        pose: (T, 6) head poses of all training frames.
    """
    spacing = anchor_spacing(rest_points)
    disks = torch.full_like(spacing, _DISK_OPACITY)
    first_colors, first_share, front = observe(views, spacing, disks)
    # What the first look carved away hides nothing in the second.
    disks = disks * first_share.clamp(0.02, 1) ** 2
    colors, share, seen = observe(views, spacing, disks)
    colors = torch.where(seen[:, None], colors, first_colors)
    share, seen = torch.minimum(share, first_share), seen | front
    # A disk that mostly covers background (a hair shell above short hair) starts transparent.
    opacity = 0.02 + 0.88 * share.clamp(0, 1) ** 2
    # What hides behind the surface is kept for other viewpoints, but hair has to show itself.
    opacity = torch.where(seen, opacity, torch.where(lifted, 0.02, 0.3))
    return Start(
        rest_positions=rest_points,
        spacing=spacing,
        colors=fill_unseen(colors, seen, rest_points),
        opacities=opacity,
        condition_mean=condition.mean(0),
        condition_scale=condition.std(0, correction=0).clamp_min(CONDITION_FLOOR),
        condition_range=torch.stack([condition.amin(0), condition.amax(0)]),
        pose_mean=pose.mean(0),
        pose_scale=pose.std(0, correction=0).clamp_min(POSE_FLOOR),
    )
