"""LPIPS-VGG with random weights, which costs what the real one costs, where that is not had."""

import torch

from headsplat.train.lpips import Lpips


def random_lpips(device: torch.device | str, dtype: torch.dtype = torch.float32) -> Lpips:
    """A distance of untrained features, the same at each call.

    He's initialization keeps the features' size from layer to layer, as training would; the linear
    weights are positive like the published ones, and add up to one in each block. Distances are
    zero for equal images, grow with the difference and have gradients everywhere. They say
    nothing about what people see: use them for time, memory and gradients, not for quality.
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
