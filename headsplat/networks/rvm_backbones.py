"""The two encoders of Robust Video Matting: features at 1/2, 1/4, 1/8 and 1/16 of the image.

Names are torchvision's, whose models the original derives from; dilation keeps the last stage at
1/16.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

# kernel, expanded channels, channels out, squeeze-and-excitation, hard swish, stride, dilation
_MOBILE = (
    (3, 16, 16, False, False, 1, 1),
    (3, 64, 24, False, False, 2, 1),
    (3, 72, 24, False, False, 1, 1),
    (5, 72, 40, True, False, 2, 1),
    (5, 120, 40, True, False, 1, 1),
    (5, 120, 40, True, False, 1, 1),
    (3, 240, 80, False, True, 2, 1),
    (3, 200, 80, False, True, 1, 1),
    (3, 184, 80, False, True, 1, 1),
    (3, 184, 80, False, True, 1, 1),
    (3, 480, 112, True, True, 1, 1),
    (3, 672, 112, True, True, 1, 1),
    (5, 672, 160, True, True, 2, 2),
    (5, 960, 160, True, True, 1, 2),
    (5, 960, 160, True, True, 1, 2),
)
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _conv(
    inputs: int, outputs: int, kernel: int, activation: type[nn.Module] | None, **options: int
) -> nn.Sequential:
    padding = kernel // 2 * options.get("dilation", 1)
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False, **options),
        nn.BatchNorm2d(outputs, eps=1e-3),
    ]
    return nn.Sequential(*layers, *([activation(inplace=True)] if activation else []))


class _Squeeze(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        quarter = channels // 4
        inner = max(8, (quarter + 4) // 8 * 8)
        inner += 8 if inner < 0.9 * quarter else 0
        self.fc1 = nn.Conv2d(channels, inner, 1)
        self.fc2 = nn.Conv2d(inner, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        mean = functional.relu(self.fc1(functional.adaptive_avg_pool2d(x, 1)))
        return x * functional.hardsigmoid(self.fc2(mean))


class _Inverted(nn.Module):
    """MobileNetV3's inverted residual."""

    def __init__(
        self, inputs: int, kernel: int, expanded: int, outputs: int, squeeze: bool, swish: bool,
        stride: int, dilation: int,
    ) -> None:  # fmt: skip
        super().__init__()
        activation = nn.Hardswish if swish else nn.ReLU
        self.residual = stride == 1 and inputs == outputs
        layers: list[nn.Module] = []
        if expanded != inputs:
            layers.append(_conv(inputs, expanded, 1, activation))
        step = 1 if dilation > 1 else stride
        layers.append(
            _conv(expanded, expanded, kernel, activation, stride=step, dilation=dilation,
                  groups=expanded)
        )  # fmt: skip
        if squeeze:
            layers.append(_Squeeze(expanded))
        layers.append(_conv(expanded, outputs, 1, None))
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x) if self.residual else self.block(x)


class MobileNetV3Large(nn.Module):
    """The small encoder; it normalizes colors itself."""

    channels = (16, 24, 40, 960)

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3, 16, 3, nn.Hardswish, stride=2)]
        inputs = 16
        for settings in _MOBILE:
            layers.append(_Inverted(inputs, *settings))
            inputs = settings[2]
        layers.append(_conv(inputs, 960, 1, nn.Hardswish))
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(T, 3, H, W) RGB in 0..1 -> features at 1/2, 1/4, 1/8, 1/16."""
        # Numbers, not tensors, so that nothing has to be sent to a GPU on the way.
        channels = zip(x.split(1, 1), _MEAN, _DEVIATION, strict=True)
        x = torch.cat([(channel - mean) / deviation for channel, mean, deviation in channels], 1)
        features = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in (1, 3, 6, 16):
                features.append(x)
        return features


class _Bottleneck(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


def _stage(inputs: int, width: int, blocks: int, stride: int, dilation: int) -> nn.Sequential:
    # As in torchvision, the first block of a dilated stage still has dilation 1.
    first = _Bottleneck(inputs, width, stride, 1)
    return nn.Sequential(
        first, *(_Bottleneck(4 * width, width, 1, dilation) for _ in range(blocks - 1))
    )


class ResNet50(nn.Module):
    """The large encoder; unlike the small one it takes colors as they are."""

    channels = (64, 256, 512, 2048)

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = _stage(64, 64, 3, 1, 1)
        self.layer2 = _stage(256, 128, 4, 2, 1)
        self.layer3 = _stage(512, 256, 6, 2, 1)
        self.layer4 = _stage(1024, 512, 3, 1, 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(T, 3, H, W) RGB in 0..1 -> features at 1/2, 1/4, 1/8, 1/16."""
        half = functional.relu(self.bn1(self.conv1(x)))
        quarter = self.layer1(functional.max_pool2d(half, 3, 2, 1))
        eighth = self.layer2(quarter)
        return [half, quarter, eighth, self.layer4(self.layer3(eighth))]
