"""Image metrics of renders against ground truth: PSNR, SSIM, L1, and temporal error (flicker).

There are several PSNRs, because the usual definition depends on the share of empty background:

- `psnr_head`: both images on black outside the head mask, error over the whole image. This is
  what FlashAvatar's successors report; the empty background raises it.
- `psnr_head_pixels`: the error over the head mask's pixels only.
- `psnr_full`: the whole image on black, so Gaussians outside the head mask count too. With a
  torso the ground truth is the whole person, else the head.
- `psnr_edge`: the pixels near the edge of the head's matte, on both sides; most errors are there.
- `psnr_collar`: the person's pixels just outside of the head mask; only with a torso.
- `psnr_mouth`, `psnr_eyes`: the pixels of the mouth mask, and of the boxes around the eyeballs.
"""

import torch
from torch import Tensor
from torch.nn import functional

from headsplat.runtime.checks import check_shape

SSIM_SIZE, SSIM_SIGMA = 11, 1.5
# Reach from the edge of the head mask as shares of the image width.
EDGE, COLLAR = 6 / 512, 32 / 512
# Change of a color from one frame to the next below which a pixel stays the same.
STILL = 2 / 255

METRICS = {
    "psnr_head": "dB; both on black outside the head mask, error over the whole image",
    "psnr_head_pixels": "dB; error over the head mask's pixels only",
    "psnr_full": "dB; the whole image on black, so what is rendered outside the head counts; with "
    "a torso of the whole person",
    "psnr_edge": "dB; pixels within 6/512 of the width from the edge of the head mask, on black",
    "psnr_collar": "dB; the person's pixels within 32/512 of the width from the head mask, outside "
    "of it; only with a torso",
    "psnr_mouth": "dB; pixels of the mouth mask",
    "psnr_eyes": "dB; pixels of the boxes around both eyeballs, as tracked",
    "psnr_eyes_closed": "dB; the same, frames with a lid more than half shut",
    "psnr_eyes_open": "dB; the same, all other frames",
    "ssim_head": "both on black outside the head mask, 11x11 Gaussian window",
    "ssim_full": "the whole image on black",
    "lpips_head": "LPIPS-VGG, unscaled, both on black outside the head mask; needs its weights",
    "l1_head": "mean absolute error of colors (0..1) over the head mask's pixels",
    "temporal_error": "mean absolute error of consecutive differences over the head, 0..1",
    "static_flicker": "the same, over pixels that stay the same in the video (to 2/255)",
    "warped_error": "mean absolute difference of a render from the one before, moved along the "
    "video's optical flow, 0..1",
    "fps_batched": "deformation and rasterization of a batch, held-out frames per second",
    "fps_single": "the same, one frame at a time, synchronized after each",
}


def psnr(error: Tensor) -> Tensor:
    """PSNR in dB of a mean squared error of colors in [0, 1]; at most 100 dB."""
    return -10 * torch.log10(error.clamp_min(1e-10))


def ssim(ground_truth: Tensor, render: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004): 11x11 Gaussian window of sigma 1.5, no padding.

    Args:
        ground_truth: (B, H, W, 3) in [0, 1].
        render: of the same shape.

    Returns:
        (B,) mean over pixels and channels.
    """
    grid = (
        torch.arange(SSIM_SIZE, dtype=ground_truth.dtype, device=ground_truth.device)
        - SSIM_SIZE // 2
    )
    line = torch.exp(-grid.square() / (2 * SSIM_SIGMA**2))
    line = line / line.sum()

    def blur(value: Tensor) -> Tensor:
        # Planes as channels of one image are many times faster on a CPU than as a batch.
        planes = value.permute(0, 3, 1, 2).flatten(0, 1)[None]
        count = planes.shape[1]
        planes = functional.conv2d(planes, line.expand(count, 1, 1, -1), groups=count)
        planes = functional.conv2d(planes, line[:, None].expand(count, 1, -1, 1), groups=count)
        return planes[0].unflatten(0, (-1, 3))

    mean_t, mean_r = blur(ground_truth), blur(render)
    var_t = blur(ground_truth * ground_truth) - mean_t.square()
    var_r = blur(render * render) - mean_r.square()
    both = blur(ground_truth * render) - mean_t * mean_r
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * mean_t * mean_r + c1) * (2 * both + c2)
    value = value / ((mean_t.square() + mean_r.square() + c1) * (var_t + var_r + c2))
    return value.mean((1, 2, 3))


def psnr_head(ground_truth: Tensor, render: Tensor, mask: Tensor) -> Tensor:
    """`psnr_head` without the slower metrics; arguments as `frame_metrics`, returns (B,) dB."""
    mask = mask[..., None]
    return psnr((ground_truth * mask - render.clamp(0, 1) * mask).square().mean((1, 2, 3)))


def frame_metrics(ground_truth: Tensor, render: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Metrics of a batch of frames.

    Args:
        ground_truth: (B, H, W, 3) target on black, colors in [0, 1].
        render: (B, H, W, 3) render on black, clamped here to [0, 1].
        mask: (B, H, W) head mask, 0 or 1.

    Returns:
        name -> (B,).
    """
    check_shape(ground_truth, "B H W 3", "ground_truth")
    check_shape(mask, "B H W", "mask")
    render = render.clamp(0, 1)
    head_ground_truth, head_render = ground_truth * mask[..., None], render * mask[..., None]
    square = (head_ground_truth - head_render).square()
    inside = square.sum((1, 2, 3)) / (3 * mask.sum((1, 2))).clamp_min(1)
    return {
        "psnr_head": psnr(square.mean((1, 2, 3))),
        "psnr_head_pixels": psnr(inside),
        "psnr_full": psnr((ground_truth - render).square().mean((1, 2, 3))),
        "psnr_edge": psnr_of(ground_truth, render, edge_band(mask)),
        "ssim_head": ssim(head_ground_truth, head_render),
        "ssim_full": ssim(ground_truth, render),
        "l1_head": (head_ground_truth - head_render).abs().sum((1, 2, 3))
        / (3 * mask.sum((1, 2))).clamp_min(1),
    }


def edge_band(mask: Tensor) -> Tensor:
    """(B, H, W) mask of 0 and 1 -> the pixels near its edge, inside and outside.

    The image's own edge is none, and distance is the larger of columns and rows.
    """
    return _grown(mask, EDGE) - (1 - _grown(1 - mask, EDGE))


def person_metrics(
    ground_truth: Tensor, render: Tensor, person: Tensor, head: Tensor
) -> dict[str, Tensor]:
    """Metrics of head and torso together.

    Args:
        ground_truth: (B, H, W, 3) the whole person on black, colors in [0, 1].
        render: (B, H, W, 3) head and torso on black, clamped here to [0, 1].
        person: (B, H, W) mask of the person, 0 or 1.
        head: (B, H, W) head mask, 0 or 1.

    Returns:
        name -> (B,).
    """
    render = render.clamp(0, 1)
    collar = person * (1 - head) * _grown(head, COLLAR)
    return {
        "psnr_full": psnr((ground_truth - render).square().mean((1, 2, 3))),
        "ssim_full": ssim(ground_truth, render),
        "psnr_collar": psnr_of(ground_truth, render, collar),
    }


def psnr_of(ground_truth: Tensor, render: Tensor, region: Tensor) -> Tensor:
    """PSNR over a region.

    Args:
        ground_truth: (B, H, W, 3) on black, colors in [0, 1].
        render: (B, H, W, 3), clamped here to [0, 1].
        region: (B, H, W), 0 or 1.

    Returns:
        (B,) dB; NaN where the region is empty.
    """
    square = (ground_truth - render.clamp(0, 1)).square().sum(-1) * region
    return psnr(square.sum((1, 2)) / (3 * region.sum((1, 2))))


def _grown(mask: Tensor, share: float) -> Tensor:
    """(B, H, W) mask, grown by a share of the image width."""
    reach = max(1, round(share * mask.shape[2]))
    size = 2 * reach + 1
    rows = functional.max_pool2d(mask[:, None], (size, 1), 1, (reach, 0))
    return functional.max_pool2d(rows, (1, size), 1, (0, reach))[:, 0]


def temporal_error(
    ground_truth: Tensor,
    previous_ground_truth: Tensor,
    render: Tensor,
    previous_render: Tensor,
    mask: Tensor,
) -> Tensor:
    """Mean absolute error of temporal differences over the head mask, (B,) in 0..1.

    It measures flicker, which per-frame metrics do not show. It is zero if the render changes from
    frame to frame exactly as the ground truth does.

    Args:
        ground_truth: (B, H, W, 3) frames, colors in [0, 1].
        previous_ground_truth: (B, H, W, 3) the frames before them.
        render: (B, H, W, 3) renders of the frames.
        previous_render: (B, H, W, 3) renders of the frames before them.
        mask: (B, H, W) head mask, 0 or 1.
    """
    error = ((ground_truth - previous_ground_truth) - (render - previous_render)).abs().sum(-1) / 3
    return (error * mask).sum((1, 2)) / mask.sum((1, 2)).clamp_min(1)


def static_flicker(
    ground_truth: Tensor,
    previous_ground_truth: Tensor,
    render: Tensor,
    previous_render: Tensor,
    mask: Tensor,
) -> Tensor:
    """`temporal_error` over pixels that do not change: (B,) in 0..1, NaN where all change.

    A pixel stays the same if each channel of the ground truth changes by less than `STILL`.
    Arguments are those of `temporal_error`.
    """
    change = (ground_truth - previous_ground_truth).abs().amax(-1)
    still = (change < STILL) * mask
    error = temporal_error(ground_truth, previous_ground_truth, render, previous_render, still)
    return torch.where(still.sum((1, 2)) > 0, error, torch.nan)
