"""MICA (Zielonka et al., ECCV 2022): FLAME shape code from one aligned image, with ArcFace.

ArcFace is the IResNet-100 of Deng et al., CVPR 2019 (925 entries). `mica.tar` also contains the
FLAME model and a training state; only the bytes of the two networks are read.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from headsplat.networks.checkpoints import load_strict
from headsplat.networks.torch_archive import TorchArchive

CODE = 300


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        y = self.bn3(self.conv2(y))
        return y + (x if self.downsample is None else self.downsample(x))


def _stage(inputs: int, outputs: int, blocks: int) -> nn.Sequential:
    rest = (_Block(outputs, outputs, 1) for _ in range(blocks - 1))
    return nn.Sequential(_Block(inputs, outputs, 2), *rest)


class ArcFace(nn.Module):
    """ArcFace: aligned faces (B, 3, 112, 112), RGB, (x - 127.5) / 127.5, to features (B, 512)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        self.layer1 = _stage(64, 64, 3)
        self.layer2 = _stage(64, 128, 13)
        self.layer3 = _stage(128, 256, 30)
        self.layer4 = _stage(256, 512, 3)
        self.bn2 = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512 * 7 * 7, 512)
        self.features = nn.BatchNorm1d(512)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, 512), not normalized."""
        x = self.prelu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.features(self.fc(self.bn2(x).flatten(1)))


class _Mapping(nn.Module):
    """Mapping network: four layers and an output layer from ArcFace's features to the code."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.ModuleList([nn.Linear(512 if k == 0 else CODE, CODE) for k in range(4)])
        self.output = nn.Linear(CODE, CODE)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.network:
            x = functional.leaky_relu(layer(x), 0.2)
        return self.output(x)


class Mica(nn.Module):
    """MICA: ArcFace and the mapping to FLAME's 300 shape coefficients."""

    def __init__(self) -> None:
        super().__init__()
        self.arcface = ArcFace()
        self.regressor = _Mapping()

    def forward(self, faces: Tensor) -> Tensor:
        """Shape codes (B, 300) of aligned faces (B, 3, 112, 112), RGB, (x - 127.5) / 127.5."""
        return self.regressor(functional.normalize(self.arcface(faces)))


def load_mica(path: Path | str, device: torch.device | str = "cpu") -> Mica:
    """Load the two networks of `mica.tar`.

    Raises:
        UserError: not a complete torch archive, or other keys or shapes than MICA's.
    """
    prefix = "regressor."
    with TorchArchive(path) as archive:
        arcface = {k: archive.read(v) for k, v in archive.table("arcface").items()}
        mapping = {
            k.removeprefix(prefix): archive.read(v)
            for k, v in archive.table("flameModel").items()
            if k.startswith(prefix)
        }
    with torch.device("meta"):
        model = Mica()
    load_strict(model.arcface, arcface, path)
    load_strict(model.regressor, mapping, path)
    return model.eval().requires_grad_(False).to(device)
