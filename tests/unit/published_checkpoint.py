"""FlashAvatar checkpoints as saved by its own classes and by other torch versions."""

import copy
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

LOCATION, FIRST_GPU = b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"
# What Adam's groups hold since torch 1.13 and 2.6.
NEWER = ("differentiable", "fused", "decoupled_weight_decay")


class Network(nn.Module):
    """The published MLP over [encoded point | code]."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.fcs = nn.ModuleList(nn.Linear(inputs if i == 0 else 256, 256) for i in range(6))
        self.output_linear = nn.Linear(256, 10)

    def forward(self, rows: Tensor) -> Tensor:
        for layer in self.fcs:
            rows = torch.relu(layer(rows))
        return torch.tanh(self.output_linear(rows))


def network_adam(network: Network) -> torch.optim.Adam:
    return torch.optim.Adam([{"params": network.parameters(), "lr": 1e-4}], betas=(0.9, 0.999))


def gaussian_adam(dc, rest, opacity, scaling, rotation) -> torch.optim.Adam:
    groups = [
        {"params": [dc], "lr": 0.0025, "name": "f_dc"},
        {"params": [rest], "lr": 0.0025 / 20.0, "name": "f_rest"},
        {"params": [opacity], "lr": 0.05, "name": "opacity"},
        {"params": [scaling], "lr": 0.005, "name": "scaling"},
        {"params": [rotation], "lr": 0.001, "name": "rotation"},
    ]
    return torch.optim.Adam(groups, lr=0.0, eps=1e-15)


def step(adam: torch.optim.Adam) -> None:
    """One step along random gradients."""
    for group in adam.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.randn_like(parameter)
    adam.step()


def published(count: int, condition_size: int, iteration: int = 5000) -> tuple:
    """(deform, gauss, iteration) with random values and visible Gaussians."""
    torch.manual_seed(count)
    network = Network(51 + condition_size)
    shapes = ((count, 1, 3), (count, 15, 3), (count, 1), (count, 3), (count, 4))
    dc, rest, opacity, scaling, rotation = (
        nn.Parameter(0.1 * torch.randn(shape)) for shape in shapes
    )
    with torch.no_grad():
        network.output_linear.weight.mul_(0.1)
        scaling.sub_(5.0)
        rotation[:, 0] += 1
    adams = network_adam(network), gaussian_adam(dc, rest, opacity, scaling, rotation)
    for adam in adams:
        step(adam)
        step(adam)
    positions = torch.randn(count, 3, requires_grad=True) * 0.1
    gauss = (
        3, positions, dc, rest, scaling, rotation, opacity, torch.zeros(count),
        torch.zeros(count, 1), torch.zeros(count, 1), adams[1].state_dict(), 0,
    )  # fmt: skip
    return (network.state_dict(), adams[0].state_dict()), gauss, iteration


def adams_of(value: tuple) -> tuple[dict[str, Any], dict[str, Any]]:
    return value[0][1], value[1][10]


def aged(value: tuple, plain_steps: bool = False) -> tuple:
    """As torch 1.12 has it, or an older one, whose Adam counts with plain numbers."""
    deform, gauss, iteration = value
    network, adam = deform
    adams = copy.deepcopy(adam), copy.deepcopy(gauss[10])
    for state in adams:
        for group in state["param_groups"]:
            for key in NEWER:
                group.pop(key, None)
        for entry in state["state"].values() if plain_steps else ():
            entry["step"] = int(entry["step"])
    return (network, adams[0]), (*gauss[:10], adams[1], gauss[11]), iteration


def with_numpy_rates(value: tuple) -> tuple:
    """As a fork with a schedule in numpy saves it."""
    out = aged(value)
    for state in adams_of(out):
        for group in state["param_groups"]:
            group["lr"] = np.float64(group["lr"])
    return out


def write(path: Path, value: Any, on_gpu: bool = False, legacy: bool = False) -> Path:
    """`torch.save`, zipped or in the older form, as if the tensors lay on the first GPU."""
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    if on_gpu and legacy:
        path.write_bytes(path.read_bytes().replace(LOCATION, FIRST_GPU))
    elif on_gpu:
        with zipfile.ZipFile(path) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name, data in members.items():
                if name.endswith("data.pkl"):
                    assert LOCATION in data
                    data = data.replace(LOCATION, FIRST_GPU)
                archive.writestr(name, data)
    return path


def assert_same(got: Any, expected: Any, where: str = "") -> None:
    """Equal in classes, order, types and every bit of every tensor."""
    assert type(got) is type(expected), where
    if isinstance(expected, Tensor):
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape), where
        assert got.requires_grad == expected.requires_grad, where
        assert torch.equal(got.cpu(), expected.cpu()), where
    elif isinstance(expected, dict):
        assert list(got) == list(expected), where
        for key in expected:
            assert_same(got[key], expected[key], f"{where}[{key!r}]")
        metadata = [getattr(value, "_metadata", None) for value in (got, expected)]
        assert metadata[0] == metadata[1], where
    elif isinstance(expected, (list, tuple)):
        assert len(got) == len(expected), where
        for index, (a, b) in enumerate(zip(got, expected, strict=True)):
            assert_same(a, b, f"{where}[{index}]")
    else:
        assert got == expected, where
