"""Weight files in the exact layout of the official ones, with random numbers in them.

Batch norms are calibrated on noise, so that signals stay of order one through all layers and
answers depend on the image.
"""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from headsplat.networks.bisenet import BiSeNet
from headsplat.networks.mica import Mica
from headsplat.networks.rvm import RobustVideoMatting, Variant

OPSET = 12


def _random(make: Callable[[], nn.Module], inputs: Callable[[], tuple[Any, ...]], seed: int):
    """A network with seeded weights whose batch norms fit noise."""
    torch.manual_seed(seed)
    module = make()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d):
            layer.momentum = None  # a plain mean over the calls below
            nn.init.uniform_(layer.weight, 0.8, 1.2)
            nn.init.normal_(layer.bias, 0, 0.1)
    module.train()
    with torch.no_grad():
        module(*inputs())
    return module.eval().requires_grad_(False)


def _states() -> tuple[Tensor, ...]:
    return (torch.zeros(1, 1, 1, 1),) * 4


def random_rvm(variant: Variant, seed: int = 0) -> RobustVideoMatting:
    """Robust Video Matting with random weights."""
    module = _random(
        lambda: RobustVideoMatting(variant),
        lambda: (torch.rand(2, 3, 256, 256), _states(), 0.5),
        seed,
    )
    # Alpha around a half, seldom clamped, with and without the refiner.
    module.project_mat.conv.weight *= 0.2
    module.project_mat.conv.bias[3] = 0.5
    module.refiner.conv[6].weight *= 0.1
    module.refiner.box_filter.weight.fill_(1 / 9)
    return module


def random_bisenet(seed: int = 0) -> BiSeNet:
    """BiSeNet with random weights."""
    return _random(BiSeNet, lambda: (torch.randn(2, 3, 256, 256), True), seed)


def random_mica(seed: int = 0) -> Mica:
    """MICA's two networks with random weights."""
    return _random(Mica, lambda: (torch.rand(2, 3, 112, 112) * 2 - 1,), seed)


class _ByFactor(torch.autograd.Function):
    """Resize by a factor that is an input of the graph, as the official export does it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: Tensor) -> Tensor:
        return functional.interpolate(
            x, scale_factor=float(factor), mode="bilinear", align_corners=False,
            recompute_scale_factor=False,
        )  # fmt: skip

    @staticmethod
    def symbolic(g: Any, x: Any, factor: Any) -> Any:
        ones = g.op("Constant", value_t=torch.ones(2))
        scales = g.op("Concat", ones, factor, factor, axis_i=0)
        return _resize_node(g, x, scales)


class _ToSize(torch.autograd.Function):
    """Resize to the size of another tensor of the graph."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, like: Tensor) -> Tensor:
        return functional.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)

    @staticmethod
    def symbolic(g: Any, x: Any, like: Any) -> Any:
        def part(value: Any, start: int, stop: int) -> Any:
            ends = [g.op("Constant", value_t=torch.tensor([n])) for n in (start, stop)]
            axis = g.op("Constant", value_t=torch.tensor([0]))
            return g.op("Slice", g.op("Shape", value), *ends, axis)

        sizes = g.op("Concat", part(x, 0, 2), part(like, 2, 4), axis_i=0)
        none = g.op("Constant", value_t=torch.tensor([], dtype=torch.float32))
        return _resize_node(g, x, none, sizes)


def _resize_node(g: Any, x: Any, *sizes: Any) -> Any:
    region = g.op("Constant", value_t=torch.tensor([], dtype=torch.float32))
    return g.op(
        "Resize", x, region, *sizes, mode_s="linear", nearest_mode_s="floor",
        coordinate_transformation_mode_s="pytorch_half_pixel",
    )  # fmt: skip


class _RvmGraph(nn.Module):
    """The official ONNX interface: the refiner always runs, the factor is an input."""

    def __init__(self, network: RobustVideoMatting) -> None:
        super().__init__()
        self.network = network

    def forward(self, src: Tensor, *states_and_ratio: Tensor) -> tuple[Tensor, ...]:
        *states, ratio = states_and_ratio
        small = _ByFactor.apply(src, ratio)
        foreground, alpha, states = self.network.answer(src, small, tuple(states), _ToSize.apply)
        return (foreground, alpha, *states)


def _export(module: nn.Module, arguments: tuple, path: Path, inputs: list, outputs: list, axes):
    with warnings.catch_warnings():
        # The exporter is the older of torch's two: the one that made the official files.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, arguments, str(path), opset_version=OPSET, dynamo=False, input_names=inputs,
            output_names=outputs, dynamic_axes=axes,
        )  # fmt: skip


def write_rvm_onnx(
    path: Path,
    network: RobustVideoMatting,
    half: bool = False,
    names: tuple[str, ...] = ("src", "r1i", "r2i", "r3i", "r4i", "downsample_ratio"),
) -> None:
    """Names, shapes and types of `rvm_*_fp32.onnx`, or with `half` of `rvm_*_fp16.onnx`."""
    dtype = torch.float16 if half else torch.float32
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        states = network(image, _states(), 0.5)[2]
    arguments = (image.to(dtype), *(s.to(dtype) for s in states), torch.tensor([0.5]))
    outputs = ["fgr", "pha", "r1o", "r2o", "r3o", "r4o"]
    free = {0: "batch", 2: "height", 3: "width"}
    axes = {name: free for name in (names[0], "fgr", "pha")}
    for k in range(1, 5):
        axes[names[k]] = {n: f"{names[k]}_{n}" for n in range(4)}
        axes[f"r{k}o"] = {n: f"r{k}o_{n}" for n in range(4)}
    graph = _RvmGraph(copy.deepcopy(network).to(dtype))
    _export(graph, arguments, path, list(names), outputs, axes)


class _BiSeNetGraph(nn.Module):
    def __init__(self, network: BiSeNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return self.network(x, True)


def write_bisenet_onnx(
    path: Path,
    network: BiSeNet,
    names: tuple[str, ...] = ("input", "output"),
    batch: int | None = 1,
) -> None:
    """An export as they circulate: one or three score maps; `batch` None leaves it free."""
    outputs = list(names[1:])
    module = _BiSeNetGraph(network) if len(outputs) == 3 else network
    axes = {} if batch else {name: {0: "batch"} for name in names}
    _export(module, (torch.randn(batch or 1, 3, 512, 512),), path, [names[0]], outputs, axes)


def write_mica_tar(path: Path, network: Mica, vertices: int = 5023) -> None:
    """`mica.tar`: the two networks, FLAME's buffers and what training left behind."""
    generator = {
        "generator.faces_tensor": torch.zeros(9976, 3, dtype=torch.int64),
        "generator.v_template": torch.zeros(vertices, 3),
        "generator.shapedirs": torch.zeros(vertices, 3, 400),
        "generator.parents": torch.tensor([-1, 0, 1, 1, 1]),
    }
    regressor = {f"regressor.{k}": v for k, v in network.regressor.state_dict().items()}
    content = {
        "arcface": network.arcface.state_dict(),
        "flameModel": regressor | generator,
        "opt": {"state": {0: {"step": 7, "exp_avg": torch.zeros(300)}}, "param_groups": []},
        "scheduler": {"step_size": 1, "gamma": 0.1, "base_lrs": [1e-5]},
        "validator": {"embeddings_lyhm": {"someone": [np.zeros(512, np.float32)]}},
        "epoch": 3,
        "global_step": 160000,
        "batch_size": 8,
    }
    torch.save(content, path)
