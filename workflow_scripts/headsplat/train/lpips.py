"""LPIPS with VGG16 (Zhang et al. 2018), differentiable, from weight files the user supplies.

`vgg16-397923af.pth` is torchvision's VGG16 (ImageNet) and `vgg.pth` the five linear layers of
LPIPS 0.1. Both are read with `weights_only=True`.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from headsplat.errors import UserError

BACKBONE_FILE = "vgg16-397923af.pth"
LINEAR_FILE = "vgg.pth"
# Convolutions of each block; features are taken after a block's last ReLU, before pooling.
_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# Mean and deviation of ImageNet colours, for pictures in [-1, 1].
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Lpips(nn.Module):
    """The distance; its parameters are frozen."""

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        self.convolutions = nn.ModuleList()
        for block in _BLOCKS:
            for width in block:
                self.convolutions.append(nn.Conv2d(channels, width, 3, padding=1))
                channels = width
        self.linear = nn.ParameterList([torch.zeros(1, block[-1], 1, 1) for block in _BLOCKS])
        self.register_buffer("shift", torch.tensor(_SHIFT)[:, None, None])
        self.register_buffer("scale", torch.tensor(_SCALE)[:, None, None])
        self.requires_grad_(False)

    def _features(self, picture: Tensor) -> list[Tensor]:
        value = (picture.permute(0, 3, 1, 2) * 2 - 1 - self.shift) / self.scale
        features, layer = [], 0
        for number, block in enumerate(_BLOCKS):
            if number:
                value = nn.functional.max_pool2d(value, 2)
            for _ in block:
                value = torch.relu(self.convolutions[layer](value))
                layer += 1
            features.append(value)
        return features

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """(B, H, W, 3) pictures in 0..1, at least 16 pixels a side -> (B,) distances."""
        with torch.no_grad():
            wanted = self._features(target)
        total = image.new_zeros(len(image))
        for have, want, weight in zip(self._features(image), wanted, self.linear, strict=True):
            difference = (_unit(have) - _unit(want)).square()
            total = total + (difference * weight).sum(1).flatten(1).mean(1)
        return total


def _unit(features: Tensor) -> Tensor:
    # The small term lies inside the root, where it keeps the gradient of a zero vector finite.
    return features / (features.square().sum(1, keepdim=True) + 1e-20).sqrt()


def load_lpips(folder: Path | str, device: torch.device | str) -> Lpips | None:
    """The distance with the weights in `folder`, or None when the files are not there.

    Raises:
        UserError: a file is there but is not what its name says.
    """
    backbone_path, linear_path = Path(folder) / BACKBONE_FILE, Path(folder) / LINEAR_FILE
    if not (backbone_path.is_file() and linear_path.is_file()):
        return None
    model = Lpips()
    path = backbone_path
    try:
        backbone = torch.load(path, map_location="cpu", weights_only=True)
        keys = [k for k in backbone if k.startswith("features.") and k.endswith(".weight")]
        keys.sort(key=lambda k: int(k.split(".")[1]))
        with torch.no_grad():
            for layer, key in zip(model.convolutions, keys, strict=True):
                layer.weight.copy_(backbone[key])
                layer.bias.copy_(backbone[key.replace("weight", "bias")])
            path = linear_path
            linear = torch.load(path, map_location="cpu", weights_only=True)
            for number, weight in enumerate(model.linear):
                weight.copy_(linear[f"lin{number}.model.1.weight"])
    except (KeyError, ValueError, RuntimeError, OSError, AttributeError) as error:
        raise UserError(f"{path}: not the weights its name says ({error}); fetch it again") from (
            error
        )
    return model.to(device)
