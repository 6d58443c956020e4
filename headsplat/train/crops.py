"""Random square crops of image batches, for losses too costly on whole images (LPIPS).

A crop gathers pixels by their index in the flattened batch. No index occurs twice, so the gradient
needs neither a sort nor atomics. It is deterministic and can be captured in a CUDA graph.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from headsplat.runtime.checks import check_shape

# Minimum side for the four 2x2 poolings of LPIPS.
SMALLEST = 16


def crop_size(height: int, width: int) -> int:
    """Side of the crops of an image: half its shorter side, at least the minimum of LPIPS."""
    side = min(height, width)
    return min(side, max(SMALLEST, side // 2))


def draw_corners(
    generator: torch.Generator, steps: int, batch: int, height: int, width: int, size: int
) -> Tensor:
    """Draw the upper left corners of crops, uniform over all positions inside the image.

    Args:
        generator: random generator of the run, on the CPU.
        steps: S of the plan.
        batch: B images per step.
        height: of the images, pixels.
        width: of the images, pixels.
        size: side of the crops, pixels.

    Returns:
        (S, B, 2) long, row and column.

    Raises:
        ValueError: a crop is larger than the image.
    """
    if size > min(height, width):
        raise ValueError(f"crops of {size} pixels do not fit into {width}x{height}")
    ranges = (height - size + 1, width - size + 1)
    drawn = [torch.randint(0, top, (steps, batch), generator=generator) for top in ranges]
    return torch.stack(drawn, -1)


def _pixels(rows: Tensor, corners: Tensor, height: int, width: int, size: int) -> Tensor:
    """Numbers (B * size * size,) of the crops' pixels in (T, H, W) flattened; rows (B,) of T."""
    side = torch.arange(size, device=corners.device)
    first = (rows * height + corners[:, 0]) * width + corners[:, 1]
    return (first[:, None, None] + side[:, None] * width + side).flatten()


class _Gather(torch.autograd.Function):
    """Rows of (M, C) by distinct numbers (P,)."""

    @staticmethod
    def forward(ctx, values: Tensor, numbers: Tensor) -> Tensor:
        ctx.save_for_backward(numbers)
        ctx.shape = values.shape
        return values.index_select(0, numbers)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        (numbers,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.shape).index_copy_(0, numbers, gradient), None


def random_crops(image: Tensor, corners: Tensor, size: int) -> Tensor:
    """Cut one square out of each image, differentiably.

    LPIPS of a fresh uniform crop per step estimates LPIPS of the whole image at lower cost: a
    quarter for half the side. The expectation weights each pixel by the number of crops that cover
    it. For half the side, this weight falls linearly from the image center to its edges. Two
    effects remain: pixels near a crop's edge see zero padding, and the gradient of one step is
    noisier, because it covers the crop only.

    Args:
        image: (B, H, W, C).
        corners: (B, 2) long, row and column of the upper left pixel. The crop must lie inside; this
            is not checked, because that would synchronize with the device.
        size: side of the crops, pixels.

    Returns:
        (B, size, size, C).
    """
    sizes = check_shape(image, "B H W C", "image")
    check_shape(corners, f"{sizes['B']} 2", "corners")
    batch, height, width, channels = image.shape
    rows = torch.arange(batch, device=corners.device)
    numbers = _pixels(rows, corners, height, width, size)
    return _Gather.apply(image.reshape(-1, channels), numbers).view(batch, size, size, channels)


def crop_images(images: Tensor, rows: Tensor, corners: Tensor, size: int) -> Tensor:
    """Cut the same squares out of stored images, without gathering whole images first.

    Args:
        images: (T, H, W, C) uint8, all stored images.
        rows: (B,) long, which images.
        corners: (B, 2) long, as in `random_crops`.
        size: side of the crops, pixels.

    Returns:
        (B, size, size, C) bytes.
    """
    check_shape(images, "T H W C", "images")
    sizes = check_shape(rows, "B", "rows")
    check_shape(corners, f"{sizes['B']} 2", "corners")
    _, height, width, channels = images.shape
    numbers = _pixels(rows, corners, height, width, size)
    chosen = images.view(-1, channels).index_select(0, numbers)
    return chosen.view(len(rows), size, size, channels)
