"""MICA (Zielonka et al., ECCV 2022): a face's FLAME shape code from one aligned image.

`mica.tar` embeds the FLAME model and a training state beside the two networks that are needed;
only the bytes of those two are read.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from headsplat.networks.arcface import ArcFace
from headsplat.networks.checkpoints import load_strict
from headsplat.networks.torch_archive import TorchArchive

CODE = 300


class _Mapping(nn.Module):
    """Four layers and an output from ArcFace's features to the code."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.ModuleList([nn.Linear(512 if k == 0 else CODE, CODE) for k in range(4)])
        self.output = nn.Linear(CODE, CODE)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.network:
            x = functional.leaky_relu(layer(x), 0.2)
        return self.output(x)


class Mica(nn.Module):
    """ArcFace and the mapping to FLAME's 300 shape coefficients."""

    def __init__(self) -> None:
        super().__init__()
        self.arcface = ArcFace()
        self.regressor = _Mapping()

    def forward(self, faces: Tensor) -> Tensor:
        """Codes (B, 300) of aligned faces (B, 3, 112, 112), RGB, (x - 127.5) / 127.5."""
        return self.regressor(functional.normalize(self.arcface(faces)))


def load_mica(path: Path | str, device: torch.device | str = "cpu") -> Mica:
    """The two networks of `mica.tar`.

    Raises:
        UserError: not a whole torch archive, or a key or shape that is not MICA's.
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
