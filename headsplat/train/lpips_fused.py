"""Fused LPIPS for GPUs: VGG16 layers and distance, with hand-written forward and backward.

Everything but the convolutions is limited by memory bandwidth, so features are read as few times as
possible. A convolution fuses bias and ReLU. The end of a block is one kernel in each direction:
distance, max pooling and ReLU gradient (`cuda_ext/csrc/lpips.h`). Both images pass through a block
before the next one, so only block ends of the target are kept.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from headsplat.gaussians.raster import extension

_ONE = (1, 1)  # stride, padding and dilation of every convolution
_ready = False


@dataclass(frozen=True)
class Layers:
    """Weights of the network, all frozen.

    Attributes:
        blocks: weight (O, I, 3, 3) and bias (O,) of each convolution, block by block, bfloat16 with
            channels last; the first takes 3 channels or more, the further ones zeros.
        linear: (O,) float32 weights of each block's distance, by channel.
        factor: (3,) float32; scale of the color normalization: color * factor + offset.
        offset: (3,) float32.
    """

    blocks: tuple[tuple[tuple[Tensor, Tensor], ...], ...]
    linear: tuple[Tensor, ...]
    factor: Tensor
    offset: Tensor


def convolution(value: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """ReLU of a 3x3 convolution at full size."""
    return torch.cudnn_convolution_relu(value, weight, bias, _ONE, _ONE, _ONE, 1)


def lpips_block(have: Tensor, want: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """End of a VGG block for two images: LPIPS distance and 2x2 max pooling.

    Args:
        have: (B, C, H, W) bfloat16 with channels last, C one of 64, 128, 256 and 512.
        want: (B, C, H, W), the target's.
        weight: (C,) float32.

    Returns:
        (B,) distances: the weighted squared difference of the unit vectors, averaged over pixels.
        Also the maxima of both over 2x2 pixels, (B, C, H // 2, W // 2). Bit-equal between runs.

    Raises:
        TypeError: a tensor has the wrong type.
        ValueError: a shape, device or memory layout is wrong.
        UserError: the operators are not built for this device.
    """
    _prepare(have.device)
    return torch.ops.headsplat.lpips_block(have, want, weight)


def lpips_block_backward(
    d_distance: Tensor, d_max: Tensor | None, have: Tensor, want: Tensor, weight: Tensor
) -> Tensor:
    """Gradient with respect to the input of the ReLU that made `have`: 0 where `have` is 0.

    Args:
        d_distance: (B,) float32.
        d_max: (B, C, H // 2, W // 2) bfloat16 with channels last; to the first of equal maxima.
        have: as in `lpips_block`, with the same errors.
        want: likewise.
        weight: likewise.

    Returns:
        (B, C, H, W) bfloat16 with channels last, computed in single precision, rounded once.
    """
    _prepare(have.device)
    return torch.ops.headsplat.lpips_block_backward(d_distance, d_max, have, want, weight)


class FusedDistance(torch.autograd.Function):
    """(B, H, W, 3) images in 0..1, a target and `Layers` -> (B,) distances."""

    @staticmethod
    def forward(ctx, image: Tensor, target: Tensor, layers: Layers) -> Tensor:
        """Run both images through the layers, block by block."""
        have, want = (_seen(side, layers) for side in (image, target))
        kept, distances = [], []
        for block, weight in zip(layers.blocks, layers.linear, strict=True):
            for layer in block:
                kept.append(have)
                have, want = convolution(have, *layer), convolution(want, *layer)
            kept += [have, want]
            distance, have, want = lpips_block(have, want, weight)
            distances.append(distance)
        ctx.layers = layers
        ctx.save_for_backward(*kept)
        return torch.stack(distances).sum(0)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Gradient of the image only."""
        layers, kept = ctx.layers, list(ctx.saved_tensors)
        gradient, push = gradient.contiguous(), None
        for block, weight in zip(layers.blocks[::-1], layers.linear[::-1], strict=True):
            want, have = kept.pop(), kept.pop()
            push = lpips_block_backward(gradient, push, have, want, weight)
            for depth, (filters, _) in reversed(list(enumerate(block))):
                value = kept.pop()
                push, _, _ = torch.ops.aten.convolution_backward(
                    push, value, filters, None, _ONE, _ONE, _ONE, False, (0, 0), 1,
                    (True, False, False),
                )  # fmt: skip
                if depth:  # else the previous block applies its ReLU gradient
                    torch.ops.aten.threshold_backward.grad_input(push, value, 0, grad_input=push)
        return push[:, :3].permute(0, 2, 3, 1) * layers.factor, None, None


def _seen(image: Tensor, layers: Layers) -> Tensor:
    """(B, H, W, 3) -> normalized input of the first convolution, (B, C, H, W)."""
    filters, _ = layers.blocks[0][0]
    value = filters.new_zeros((*image.shape[:3], filters.shape[1]))
    torch.addcmul(layers.offset, image, layers.factor, out=value[..., :3])
    return value.permute(0, 3, 1, 2)


def _prepare(device: torch.device) -> None:
    global _ready
    extension.require(device)
    if _ready:
        return

    @torch.library.register_fake("headsplat::lpips_block")
    def _(have, want, weight):
        batch, channels, height, width = have.shape
        maxima = have.new_empty((2, batch, channels, height // 2, width // 2)).unbind()
        last = torch.channels_last
        return weight.new_empty(batch), *(value.contiguous(memory_format=last) for value in maxima)

    @torch.library.register_fake("headsplat::lpips_block_backward")
    def _(d_distance, d_max, have, want, weight):
        return torch.empty_like(have)

    _ready = True
