"""Per-pixel weighted Huber loss."""

from typing import Any

import torch
from torch import Tensor

from headsplat.gaussians.raster import extension

_ready = False


def image_loss(
    rendered: Tensor,
    images: Tensor,
    rows: Tensor,
    background: Tensor,
    mouth: float,
    reduction: int = 1,
) -> Tensor:
    """Huber loss of rendered images against stored bytes, in one pass each way.

    The target is a stored image composited over a plain background by its matte. A mouth pixel has
    weight 1 + mouth. Huber's delta is 0.1, FlashAvatar's: d < 0.1: d^2 / 2, else 0.1 (d - 0.05).
    With mouth = 40 the loss equals the paper's sum of a whole-image term and 40 times a masked one.
    See the top of `cuda_ext/csrc/image_loss.h`.

    It never synchronizes with the device, so it can be captured in a CUDA graph.

    Args:
        rendered: (B, H // reduction, W // reduction, 3) float32 in 0..1, differentiable.
        images: (T, H, W, 5) uint8: red, green, blue, matte, mouth. No gradient.
        rows: (B,) long, the stored image of each rendered one. On a GPU rows are clamped to 0..T-1,
            because reporting an error would need a synchronization.
        background: (B, 3) float32. No gradient.
        mouth: additional weight of a mouth pixel.
        reduction: 1, or 2 for targets and weights that are means over 2x2 pixels; odd last rows
            and columns of the images are left out then.

    Returns:
        (B,) means over all pixels and channels. Sums have a fixed order, so results are bit-equal
        between runs; CPU and GPU differ in the loss's rounding, not in the gradient.

    Raises:
        IndexError: a row is outside of the images (CPU).
        TypeError: a tensor has the wrong type.
        ValueError: a shape, device or memory layout is wrong; all must be contiguous.
        UserError: the operators cannot be built, or not for this device.
    """
    if not _ready:
        _prepare()
    extension.require(rendered.device)
    return torch.ops.headsplat.image_loss(rendered, images, rows, background, mouth, reduction)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.mouth, ctx.reduction = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, d_loss: Tensor) -> tuple[Tensor | None, ...]:
    d_image = None
    if ctx.needs_input_grad[0]:
        d_image = torch.ops.headsplat.image_loss_backward(
            d_loss.contiguous(), *ctx.saved_tensors, ctx.mouth, ctx.reduction
        )
    return (d_image, None, None, None, None, None)


def _prepare() -> None:
    global _ready
    extension.load()

    @torch.library.register_fake("headsplat::image_loss")
    def _(rendered, images, rows, background, mouth, reduction):
        return rendered.new_empty(rendered.shape[:1])

    @torch.library.register_fake("headsplat::image_loss_backward")
    def _(d_loss, rendered, images, rows, background, mouth, reduction):
        return torch.empty_like(rendered)

    torch.library.register_autograd(
        "headsplat::image_loss", _backward, setup_context=_setup_context
    )
    _ready = True


def composite(image: Tensor, matte: Tensor, background: Tensor) -> Tensor:
    """Composite the head over a plain color.

    Args:
        image: (B, H, W, 3) in 0..1.
        matte: (B, H, W) in 0..1.
        background: (B, 3).

    Returns:
        (B, H, W, 3).
    """
    return torch.lerp(background[:, None, None].expand_as(image), image, matte[..., None])
