"""LPIPS-VGG with random weights: the cost of the real network where its weights are missing."""

import torch

from headsplat.train.lpips import Lpips


def random_lpips(device: torch.device | str, dtype: torch.dtype = torch.float32) -> Lpips:
    """A distance of untrained features, equal for every call.

    He initialization keeps the features' scale from layer to layer. The linear weights are positive
    like the published ones, and sum to one in each block. Distances are zero for equal images, grow
    with the difference and have gradients everywhere. They do not measure perceptual quality: use
    them for time, memory and gradients only.
    """
    generator = torch.Generator().manual_seed(0)
    model = Lpips()
    with torch.no_grad():
        for layer in model.convolutions:
            fan_in = layer.weight[0].numel()
            layer.weight.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
            layer.bias.normal_(0, 0.05, generator=generator)
        for weight in model.linear:
            weight.uniform_(0, 2 / weight.numel(), generator=generator)
    model = model.to(device)
    return model if dtype == torch.float32 else model.reduce(dtype)
