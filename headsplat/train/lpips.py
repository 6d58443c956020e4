"""LPIPS with VGG16 (Zhang et al. 2018), differentiable, from weight files the user supplies.

`vgg16-397923af.pth` is torchvision's VGG16 (ImageNet) and `vgg.pth` the five linear layers of
LPIPS 0.1. Both are read as data, without running code. Training uses crops
(`headsplat.train.crops`); on a GPU it is computed in bfloat16 (`headsplat.train.lpips_fused`).
"""

from itertools import islice
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from headsplat.networks.checkpoints import read_state
from headsplat.runtime.errors import UserError, one_line
from headsplat.train.lpips_fused import FusedDistance, Layers

BACKBONE_FILE = "vgg16-397923af.pth"
LINEAR_FILE = "vgg.pth"
# Convolutions of each block; features are taken after a block's last ReLU, before pooling.
_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# Mean and deviation of ImageNet colors, for images in [-1, 1].
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Lpips(nn.Module):
    """LPIPS distance with frozen parameters."""

    def __init__(self) -> None:
        super().__init__()
        channels = 3
        self.convolutions = nn.ModuleList()
        for block in _BLOCKS:
            for width in block:
                self.convolutions.append(nn.Conv2d(channels, width, 3, padding=1))
                channels = width
        self.linear = nn.ParameterList([torch.zeros(1, block[-1], 1, 1) for block in _BLOCKS])
        shift, scale = torch.tensor(_SHIFT), torch.tensor(_SCALE)
        self.register_buffer("factor", 2 / scale)
        self.register_buffer("offset", -(1 + shift) / scale)
        self.requires_grad_(False)

    def reduce(self, dtype: torch.dtype) -> "Lpips":
        """Convert the convolutions to `dtype` in a layout for tensor cores; returns itself.

        The layout is channels-last with channels padded to multiples of 8. Input images and output
        distances stay in single precision. On a GPU, bfloat16 uses the fused kernels.
        """
        first = self.convolutions[0]
        first.weight = nn.Parameter(_fill_channels(first.weight), requires_grad=False)
        self.convolutions.to(dtype=dtype, memory_format=torch.channels_last)
        return self

    def _features(self, image: Tensor) -> list[Tensor]:
        value = torch.addcmul(self.offset, image, self.factor).permute(0, 3, 1, 2)
        first = self.convolutions[0].weight
        value = value.to(first.dtype)
        if first.shape[1] > value.shape[1]:
            value = _fill_channels(value)
        features, layer = [], 0
        for number, block in enumerate(_BLOCKS):
            if number:
                value = nn.functional.max_pool2d(value, 2)
            for _ in block:
                value = torch.relu_(self.convolutions[layer](value))
                layer += 1
            features.append(value)
        return features

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """(B, H, W, 3) images in 0..1, at least 16 pixels a side -> (B,) distances.

        Gradients flow to `image` only.
        """
        if image.is_cuda and self.convolutions[0].weight.dtype == torch.bfloat16:
            return FusedDistance.apply(image, target, self.layers())
        with torch.no_grad():
            wanted = [_scaled(value, _inverse_length(value)) for value in self._features(target)]
        distances = [
            _Distance.apply(have, want, weight)
            for have, want, weight in zip(self._features(image), wanted, self.linear, strict=True)
        ]
        return torch.stack(distances).sum(0)

    def layers(self) -> Layers:
        """The parameters, block by block."""
        rest = iter(self.convolutions)
        blocks = tuple(
            tuple((layer.weight, layer.bias) for layer in islice(rest, len(block)))
            for block in _BLOCKS
        )
        linear = tuple(weight.flatten() for weight in self.linear)
        return Layers(blocks, linear, self.factor, self.offset)


def _fill_channels(value: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 8, H, W), zeros after the C."""
    return nn.functional.pad(value, (0, 0, 0, 0, 0, 8 - value.shape[1]))


def _inverse_length(features: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 1, H, W): inverse L2 norm of each pixel's vector, at least float32."""
    wide = torch.promote_types(features.dtype, torch.float32)
    length = torch.linalg.vector_norm(features, dim=1, keepdim=True, dtype=wide)
    # The small term keeps the gradient of a zero vector finite.
    return (length.square() + 1e-20).rsqrt()


def _scaled(features: Tensor, factor: Tensor) -> Tensor:
    """Product of features and a higher-precision factor, rounded once to the features' type."""
    return torch.mul(features, factor, out=torch.empty_like(features))


class _Distance(torch.autograd.Function):
    """One block's distance: mean over pixels of the weighted square of unit vectors' difference.

    Hand-written to reduce memory traffic. Feature-sized tensors stay in the features' precision and
    are read as rarely as possible. Arithmetic and sums are in single precision.
    """

    @staticmethod
    def forward(ctx, have: Tensor, want: Tensor, weight: Tensor) -> Tensor:
        """(B, C, H, W) features, the target's unit vectors, (1, C, 1, 1) -> (B,)."""
        inverse = _inverse_length(have)
        # Rounded like the target's, so that equal images have distance 0.
        difference = _scaled(have, inverse).sub_(want)
        ctx.save_for_backward(have, difference, inverse, weight)
        length = torch.linalg.vector_norm(difference, dim=(2, 3), dtype=inverse.dtype)
        return length.square() @ weight.flatten() / inverse[0].numel()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        have, difference, inverse, weight = ctx.saved_tensors
        factor = (2 / inverse[0].numel()) * gradient[:, None, None, None] * weight
        push = _scaled(difference, factor)
        # Project out the radial component, which normalization removes.
        along = (push * have).sum(1, keepdim=True, dtype=inverse.dtype) * inverse.square()
        torch.addcmul(push, have, along, value=-1, out=push)
        return push.mul_(inverse), None, None


def load_lpips(
    folder: Path | str, device: torch.device | str, dtype: torch.dtype = torch.float32
) -> Lpips | None:
    """LPIPS with the weights in `folder`, or None if the files are missing.

    Args:
        folder: folder of the two weight files.
        device: where it is evaluated.
        dtype: of the network's layers; float32 to report distances, bfloat16 to train on a GPU.

    Raises:
        UserError: a file exists but does not hold these weights.
    """
    backbone_path, linear_path = Path(folder) / BACKBONE_FILE, Path(folder) / LINEAR_FILE
    if not (backbone_path.is_file() and linear_path.is_file()):
        return None
    model = Lpips()
    path = backbone_path
    try:
        backbone = read_state(path)
        keys = [k for k in backbone if k.startswith("features.") and k.endswith(".weight")]
        keys.sort(key=lambda k: int(k.split(".")[1]))
        with torch.no_grad():
            for layer, key in zip(model.convolutions, keys, strict=True):
                layer.weight.copy_(backbone[key])
                layer.bias.copy_(backbone[key.replace("weight", "bias")])
            path = linear_path
            linear = read_state(path)
            for number, weight in enumerate(model.linear):
                weight.copy_(linear[f"lin{number}.model.1.weight"])
    except (KeyError, ValueError, RuntimeError) as error:
        raise UserError(
            f"{path}: not the weights its name says ({one_line(error)}); download it again"
        ) from (error)
    model = model.to(device)
    return model if dtype == torch.float32 else model.reduce(dtype)
