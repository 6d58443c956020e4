"""Stateful RobustVideoMatting (RVM) inference on consecutive frames, in ONNX Runtime or torch.

`OnnxMatting` runs the official ONNX files frame by frame. `TorchMatting` runs the official torch
weights with `rvm.py` in batches.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from headsplat.networks.checkpoints import load_strict, read_state
from headsplat.networks.onnx_session import check_signature, on_gpu, open_session
from headsplat.networks.rvm import RobustVideoMatting, variant_of
from headsplat.runtime.cuda_graph import CudaGraph

_STATES = ("r1", "r2", "r3", "r4")
_ONNX_FLOAT = {np.float32: (torch.float32, 1), np.float16: (torch.float16, 10)}
# Smallest and largest longer side in px of the downsampled image, as the authors advise.
SMALLEST, LARGEST = 256, 512


def working_ratio(height: int, width: int) -> float:
    """RVM's `downsample_ratio` by the authors' rule: min(512 / longer side, 1).

    Images below 256 px are enlarged to 256 px, because the network was not trained on smaller ones.
    """
    longest = max(height, width)
    return SMALLEST / longest if longest < SMALLEST else min(LARGEST / longest, 1.0)


class MattingEngine(Protocol):
    """Interface of a recurrent matting network, whose state persists until `reset`.

    Attributes:
        batch: preferred number of frames per call.
    """

    batch: int

    def alphas(self, images: Tensor) -> Tensor:
        """(T, H, W, 3) uint8 RGB, consecutive frames on any device -> (T, H, W) uint8."""
        ...

    def reset(self) -> None:
        """Reset the recurrent state: at a shot change, and before frames of another size."""
        ...


class OnnxMatting:
    """The official `rvm_{mobilenetv3,resnet50}_{fp32,fp16}.onnx`, frame by frame.

    Images and alphas are bound by address, and the recurrent state stays in ONNX Runtime. So on a
    GPU only images and alphas are transferred.

    Raises:
        UserError: the file has other inputs or outputs than the official files.
    """

    batch = 16

    def __init__(self, path: Path | str, gpu: int | None = 0) -> None:
        self._session = open_session(path, gpu)
        inputs = {"src": (None, 3, None, None)}
        inputs |= {f"{s}i": (None, None, None, None) for s in _STATES} | {"downsample_ratio": (1,)}
        outputs = {"fgr": (None, 3, None, None), "pha": (None, 1, None, None)}
        outputs |= {f"{s}o": (None, None, None, None) for s in _STATES}
        self._float = check_signature(
            self._session, path, inputs, outputs, float32=("downsample_ratio",)
        )
        self._dtype, self._element = _ONNX_FLOAT[self._float]
        # With a CPU build of torch, ONNX Runtime copies the images to the GPU.
        self._place, self._number = ("cuda", gpu or 0) if on_gpu(self._session) else ("cpu", 0)
        shared = self._place == "cuda" and torch.cuda.is_available()
        self._device = torch.device("cuda", self._number) if shared else torch.device("cpu")
        self._memory: list[onnxruntime.OrtValue] = []
        self.reset()

    def reset(self) -> None:
        """Reset the recurrent state."""
        start = np.zeros((1, 1, 1, 1), self._float)
        self._memory = [self._value(start) for _ in _STATES]

    def _value(self, array: np.ndarray) -> onnxruntime.OrtValue:
        return onnxruntime.OrtValue.ortvalue_from_numpy(array, self._place, self._number)

    def alphas(self, images: Tensor) -> Tensor:
        """(T, H, W, 3) uint8 RGB -> (T, H, W) uint8."""
        prepared = images.to(self._device).permute(0, 3, 1, 2).to(self._dtype) / 255
        prepared = prepared.contiguous()
        height, width = prepared.shape[2:]
        alphas = prepared.new_empty((len(prepared), height, width))
        ratio = self._value(np.array([working_ratio(height, width)], np.float32))
        if prepared.is_cuda:
            torch.cuda.synchronize()  # torch and ONNX Runtime use different streams
        for image, alpha in zip(prepared, alphas, strict=True):
            binding = self._session.io_binding()
            place = (self._device.type, self._number, self._element)
            binding.bind_input("src", *place, (1, *image.shape), image.data_ptr())
            binding.bind_output("pha", *place, (1, 1, height, width), alpha.data_ptr())
            binding.bind_ortvalue_input("downsample_ratio", ratio)
            for name, value in zip(_STATES, self._memory, strict=True):
                binding.bind_ortvalue_input(f"{name}i", value)
                binding.bind_output(f"{name}o", self._place, self._number)
            self._session.run_with_iobinding(binding)
            # Outputs are in the order of binding: alpha, then the states.
            self._memory = binding.get_outputs()[1:]
        return (alphas * 255).round().to(torch.uint8)


class TorchMatting:
    """The official `rvm_{mobilenetv3,resnet50}.pth`, `batch` frames at a time.

    Raises:
        UserError: the file is not one of the two.
    """

    batch = 16

    def __init__(self, path: Path | str, device: torch.device | str = "cpu") -> None:
        state = read_state(path)
        with torch.device("meta"):
            network = RobustVideoMatting(variant_of(list(state)))
        load_strict(network, state, path)
        self._device = torch.device(device)
        self._dtype = torch.float16 if self._device.type == "cuda" else torch.float32
        self._network = network.eval().requires_grad_(False).to(self._device, self._dtype)
        if self._device.type == "cuda":
            self._network = self._network.to(memory_format=torch.channels_last)
        self._recording: tuple[torch.Size, CudaGraph] | None = None
        self._memory: list[Tensor] = []
        self.reset()

    def reset(self) -> None:
        """Reset the recurrent state."""
        start = torch.zeros((1, 1, 1, 1), device=self._device, dtype=self._dtype)
        self._memory = [start] * 4

    @torch.inference_mode()
    def alphas(self, images: Tensor) -> Tensor:
        """(T, H, W, 3) uint8 RGB -> (T, H, W) uint8."""
        if self._device.type == "cuda" and len(images) == self.batch:
            graph = self._recorded_step(images)
            graph.load(images, *self._memory)
            alphas, *self._memory = (output.clone() for output in graph.replay())
        else:
            alphas, *self._memory = self._step(images.to(self._device), *self._memory)
        return alphas

    def _step(self, images: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        # The permuted tensor is in torch's channels_last format without a copy.
        prepared = images.permute(0, 3, 1, 2).to(self._dtype) / 255
        _, alphas, states = self._network(prepared, states, working_ratio(*prepared.shape[2:]))
        return ((alphas[:, 0].float() * 255).round().to(torch.uint8), *states)

    def _recorded_step(self, images: Tensor) -> CudaGraph:
        """The step for whole batches of this image size."""
        if self._recording is None or self._recording[0] != images.shape:
            here = images.to(self._device)
            _, *states = self._step(here, *self._memory)
            inputs = [value.clone() for value in (here, *states)]
            graph = CudaGraph(self._step, self._device, inputs)
            graph.warm_up()
            graph.record()
            self._recording = images.shape, graph
        return self._recording[1]


def open_rvm(path: Path | str, device: torch.device, gpu: int | None) -> MattingEngine:
    """Open the inference engine of a weight file, chosen by its suffix.

    Args:
        path: `.onnx` or `.pth` file.
        device: torch device, for `.pth`.
        gpu: GPU number of ONNX Runtime, for `.onnx`; None for the CPU.
    """
    if Path(path).suffix == ".onnx":
        return OnnxMatting(path, gpu)
    return TorchMatting(path, device)


def stack(images: Sequence[np.ndarray]) -> Tensor:
    """Stack images (H, W, 3) uint8 of one size to (T, H, W, 3)."""
    return torch.from_numpy(np.stack(images))
