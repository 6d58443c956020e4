"""Robust Video Matting (Lin et al., WACV 2022) as a torch module.

Names and shapes are those of `rvm_mobilenetv3.pth` (380 entries) and `rvm_resnet50.pth` (390).
The batch axis is time here: everything but the recurrent cells sees all frames at once.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from headsplat.networks.rvm_backbones import MobileNetV3Large, ResNet50

Variant = Literal["mobilenetv3", "resnet50"]
States = tuple[Tensor, Tensor, Tensor, Tensor]
Resize = Callable[[Tensor, Tensor], Tensor]


def _conv_norm(inputs: int, outputs: int, kernel: int = 3) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    ]


class _Aspp(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.aspp1 = nn.Sequential(*_conv_norm(inputs, outputs, 1))
        self.aspp2 = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(inputs, outputs, 1, bias=False), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.aspp1(x) * self.aspp2(x)


class _ConvGru(nn.Module):
    """A convolutional GRU that walks along the batch axis."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.ih = nn.Sequential(nn.Conv2d(2 * channels, 2 * channels, 3, padding=1), nn.Sigmoid())
        self.hh = nn.Sequential(nn.Conv2d(2 * channels, channels, 3, padding=1), nn.Tanh())

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = state.expand_as(x[:1])
        steps = []
        for step in x.split(1):
            reset, update = self.ih(torch.cat([step, state], 1)).chunk(2, 1)
            candidate = self.hh(torch.cat([step, reset * state], 1))
            state = (1 - update) * state + update * candidate
            steps.append(state)
        return torch.cat(steps), state


class _Bottleneck(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gru = _ConvGru(channels // 2)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        through, remembered = x.chunk(2, 1)
        remembered, state = self.gru(remembered, state)
        return torch.cat([through, remembered], 1), state


def _double(x: Tensor, like: Tensor) -> Tensor:
    x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    return x[:, :, : like.shape[2], : like.shape[3]]


class _Upsampling(nn.Module):
    def __init__(self, inputs: int, skip: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(*_conv_norm(inputs + skip + 3, outputs))
        self.gru = _ConvGru(outputs // 2)

    def forward(
        self, x: Tensor, skip: Tensor, image: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        x = self.conv(torch.cat([_double(x, image), skip, image], 1))
        through, remembered = x.chunk(2, 1)
        remembered, state = self.gru(remembered, state)
        return torch.cat([through, remembered], 1), state


class _Output(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(*_conv_norm(inputs + 3, outputs), *_conv_norm(outputs, outputs))

    def forward(self, x: Tensor, image: Tensor) -> Tensor:
        return self.conv(torch.cat([_double(x, image), image], 1))


class _Decoder(nn.Module):
    def __init__(self, features: Sequence[int], channels: Sequence[int]) -> None:
        super().__init__()
        self.decode4 = _Bottleneck(features[3])
        self.decode3 = _Upsampling(features[3], features[2], channels[0])
        self.decode2 = _Upsampling(channels[0], features[1], channels[1])
        self.decode1 = _Upsampling(channels[1], features[0], channels[2])
        self.decode0 = _Output(channels[2], channels[3])

    def forward(
        self, image: Tensor, features: Sequence[Tensor], states: States
    ) -> tuple[Tensor, States]:
        pool = nn.AvgPool2d(2, 2, count_include_pad=False, ceil_mode=True)
        half = pool(image)
        quarter = pool(half)
        x, fourth = self.decode4(features[3], states[3])
        x, third = self.decode3(x, features[2], pool(quarter), states[2])
        x, second = self.decode2(x, features[1], quarter, states[1])
        x, first = self.decode1(x, features[0], half, states[0])
        return self.decode0(x, image), (first, second, third, fourth)


class _Projection(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


def _with_mean(x: Tensor) -> Tensor:
    return torch.cat([x, x.mean(1, keepdim=True)], 1)


def _resize_like(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)


class _Refiner(nn.Module):
    """Deep guided filter: carries foreground and alpha from the working size to the full one."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.box_filter = nn.Conv2d(4, 4, 3, padding=1, bias=False, groups=4)
        self.conv = nn.Sequential(
            *_conv_norm(8 + hidden, hidden, 1), *_conv_norm(hidden, hidden, 1),
            nn.Conv2d(hidden, 4, 1),
        )  # fmt: skip

    def forward(
        self, full: Tensor, small: Tensor, answer: Tensor, hidden: Tensor, resize: Resize
    ) -> Tensor:
        x = _with_mean(small)
        mean_x, mean_y = self.box_filter(x), self.box_filter(answer)
        covariance = self.box_filter(x * answer) - mean_x * mean_y
        variance = self.box_filter(x * x) - mean_x * mean_x
        slope = self.conv(torch.cat([covariance, variance, hidden], 1))
        offset = mean_y - slope * mean_x
        return resize(slope, full) * _with_mean(full) + resize(offset, full)


class RobustVideoMatting(nn.Module):
    """RGB images of consecutive frames to foreground and alpha, with the memory carried on.

    Args:
        variant: encoder.
    """

    def __init__(self, variant: Variant) -> None:
        super().__init__()
        if variant == "mobilenetv3":
            self.backbone: nn.Module = MobileNetV3Large()
            depth, channels = 128, (80, 40, 32, 16)
        else:
            self.backbone = ResNet50()
            depth, channels = 256, (128, 64, 32, 16)
        features = self.backbone.channels
        self.aspp = _Aspp(features[3], depth)
        self.decoder = _Decoder((*features[:3], depth), channels)
        self.project_mat = _Projection(16, 4)
        self.project_seg = _Projection(16, 1)  # of the original's segmentation training
        self.refiner = _Refiner()

    def answer(
        self, full: Tensor, small: Tensor, states: States, resize: Resize | None
    ) -> tuple[Tensor, Tensor, States]:
        """The network on given images.

        Args:
            full: (T, 3, H, W) RGB in 0..1, T consecutive frames.
            small: the same at the working size.
            states: the memory, each broadcastable to (1, C, h, w).
            resize: how the refiner enlarges to `full`; None leaves the refiner out.

        Returns:
            Foreground (T, 3, H, W), alpha (T, 1, H, W), both in 0..1, and the memory after the
            last frame.
        """
        *features, last = self.backbone(small)
        hidden, states = self.decoder(small, [*features, self.aspp(last)], states)
        answer = self.project_mat(hidden)
        if resize is not None:
            answer = self.refiner(full, small, answer, hidden, resize)
        foreground, alpha = answer.split([3, 1], 1)
        return (foreground + full).clamp(0, 1), alpha.clamp(0, 1), states

    def forward(self, full: Tensor, states: States, ratio: float) -> tuple[Tensor, Tensor, States]:
        """As `answer`; the working size is `ratio` times the full one, and 1 needs no refiner."""
        if ratio == 1:
            return self.answer(full, full, states, None)
        small = functional.interpolate(
            full, scale_factor=ratio, mode="bilinear", align_corners=False,
            recompute_scale_factor=False,
        )  # fmt: skip
        return self.answer(full, small, states, _resize_like)


def variant_of(keys: Sequence[str]) -> Variant:
    """Which encoder a state dict is of, from its key names."""
    return "mobilenetv3" if any(k.startswith("backbone.features.") for k in keys) else "resnet50"
