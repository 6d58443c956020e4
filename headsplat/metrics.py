"""How far a render is from the ground truth: PSNR, SSIM, and flicker.

Three PSNRs, because the field's number and an honest one differ:

- `psnr_head`: both images composited on black outside the head mask, error over the whole
  image (as FlashAvatar's successors report it; the empty outside flatters it).
- `psnr_head_pixels`: the same error over the mask's pixels only.
- `psnr_full`: the whole image on black, so that what is painted outside the head counts too.
"""

import torch
from torch import Tensor
from torch.nn import functional

from headsplat.runtime.checks import check_shape

SSIM_SIZE, SSIM_SIGMA = 11, 1.5

METRICS = {
    "psnr_head": "dB; both on black outside the head mask, error over the whole image",
    "psnr_head_pixels": "dB; error over the head mask's pixels only",
    "psnr_full": "dB; the whole image on black, paint outside the head counts",
    "ssim_head": "both on black outside the head mask, 11x11 Gaussian window",
    "ssim_full": "the whole image on black",
    "lpips_head": "LPIPS-VGG, unscaled, both on black outside the head mask; needs its weights",
    "l1_head": "mean absolute error of colors (0..1) over the head mask's pixels",
    "temporal_error": "mean absolute error of consecutive differences over the head, 0..1",
    "fps_batched": "deformation and rasterization of a batch, held-out frames per second",
    "fps_single": "the same, one frame at a time, waiting for each",
}


def psnr(error: Tensor) -> Tensor:
    """Mean squared error of colors in [0, 1] -> dB; a perfect image is capped at 100 dB."""
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
        # As channels of one image: many times faster on a CPU than as images of one channel.
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
    """The metric of that name alone, arguments as `frame_metrics`: SSIM takes most of the time."""
    mask = mask[..., None]
    return psnr((ground_truth * mask - render.clamp(0, 1) * mask).square().mean((1, 2, 3)))


def frame_metrics(ground_truth: Tensor, render: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Metrics of a batch of frames.

    Args:
        ground_truth: (B, H, W, 3) the target on black, colors in [0, 1].
        render: (B, H, W, 3) the avatar on black.
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
        "ssim_head": ssim(head_ground_truth, head_render),
        "ssim_full": ssim(ground_truth, render),
        "l1_head": (head_ground_truth - head_render).abs().sum((1, 2, 3))
        / (3 * mask.sum((1, 2))).clamp_min(1),
    }


def temporal_error(
    ground_truth: Tensor,
    previous_ground_truth: Tensor,
    render: Tensor,
    previous_render: Tensor,
    mask: Tensor,
) -> Tensor:
    """Difference of consecutive differences over the head, (B, H, W, 3) each -> (B,), 0..1.

    Flicker and swimming that a per-frame metric averages away: zero when the render changes
    from frame to frame exactly as the ground truth does.
    """
    error = ((ground_truth - previous_ground_truth) - (render - previous_render)).abs().sum(-1) / 3
    return (error * mask).sum((1, 2)) / mask.sum((1, 2)).clamp_min(1)
