"""Float64 reference of the end of an LPIPS block, with autograd gradients."""

import torch
from torch.nn.functional import max_pool2d

# Channels, height and width: VGG16's channel counts; odd sizes, whose last rows are not pooled;
# single rows, which have no pooled output; more than one thread block per image.
SIZES = (
    (64, 12, 20), (64, 7, 5), (64, 1, 3), (128, 4, 6), (128, 9, 31), (256, 5, 4), (512, 3, 7),
    (512, 2, 2), (512, 16, 16),
)  # fmt: skip


def distance(have, want, weight):
    """Zhang et al. (2018), eq. 1, of one layer: (B, C, H, W) features -> (B,)."""
    directions = [v * (v.square().sum(1, keepdim=True) + 1e-20).rsqrt() for v in (have, want)]
    square = (directions[0] - directions[1]).square()
    return (square * weight[:, None, None]).sum(1).mean((1, 2))


def maxima(features):
    """(B, C, H, W) -> (B, C, H // 2, W // 2)."""
    batch, channels, height, width = features.shape
    if min(height, width) < 2:  # PyTorch refuses these
        return features.new_zeros(batch, channels, height // 2, width // 2)
    return max_pool2d(features, 2)


def block(have, want, weight):
    """As `headsplat.train.lpips_fused.lpips_block`."""
    return distance(have, want, weight), maxima(have), maxima(want)


def block_backward(d_distance, d_max, have, want, weight):
    """As `headsplat.train.lpips_fused.lpips_block_backward`: through the ReLU that made `have`."""
    with torch.enable_grad():
        leaf = have.detach().clone().requires_grad_()
        features = leaf.relu()
        loss = (distance(features, want, weight) * d_distance).sum()
        if d_max is not None:
            loss = loss + (maxima(features) * d_max).sum()
        return torch.autograd.grad(loss, leaf)[0]


def scene(channels, height, width, batch=2):
    """(have, want, weight, d_distance, d_max) with zeros, zero vectors and many equal maxima."""
    random = torch.Generator().manual_seed(channels + height)
    first, second = torch.randn(2, batch, channels, height, width, generator=random)
    have, want = first.relu(), (first + 0.3 * second).relu()
    have[:, ::3] = have[:, ::3].mul(2).round().div(2)
    have[0, :, 0, 0] = 0
    want[-1, :, -1, -1] = 0
    weight = torch.rand(channels, generator=random)
    d_distance = torch.randn(batch, generator=random)
    shape = (batch, channels, height // 2, width // 2)
    d_max = torch.randn(shape, generator=random) / (height * width)
    half = (v.bfloat16().contiguous(memory_format=torch.channels_last) for v in (have, want, d_max))
    have, want, d_max = half
    return have, want, weight, d_distance, d_max
