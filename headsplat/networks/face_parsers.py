"""Face parsing: images to label maps of 19 classes, in the order of `masks.labels.BISENET`.

Two engines with one interface: `79999_iter.pth` through `bisenet.py`, many images at once, and
the ONNX exports in circulation through ONNX Runtime.
"""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from headsplat.networks.bisenet import CLASSES, BiSeNet
from headsplat.networks.checkpoints import load_strict, read_state
from headsplat.networks.onnx_session import DTYPES, batch_limit, open_session
from headsplat.runtime.errors import UserError

SIZE = 512  # the network was trained for this size and answers differently at others
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FaceParser(Protocol):
    """Label maps of images, each for itself."""

    batch: int

    def labels(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 RGB on any device -> (B, H, W) uint8 class ids."""
        ...


def normalized(images: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, H, W, 3) uint8 RGB -> (B, 3, 512, 512), resized as Pillow's bilinear does it."""
    prepared = images.permute(0, 3, 1, 2).float()
    if prepared.shape[2:] != (SIZE, SIZE):
        prepared = functional.interpolate(
            prepared, (SIZE, SIZE), mode="bilinear", align_corners=False, antialias=True
        ).round()
    mean = prepared.new_tensor(_MEAN)[:, None, None] * 255
    deviation = prepared.new_tensor(_DEVIATION)[:, None, None] * 255
    return ((prepared - mean) / deviation).to(dtype)


def as_labels(scores: Tensor, height: int, width: int) -> Tensor:
    """(B, 19, 512, 512) scores -> (B, height, width) uint8, by nearest neighbors."""
    labels = scores.argmax(1, keepdim=True)
    if labels.shape[2:] != (height, width):
        labels = functional.interpolate(labels.float(), (height, width), mode="nearest-exact")
    return labels[:, 0].to(torch.uint8)


class TorchParser:
    """`79999_iter.pth`.

    Raises:
        UserError: the file is not those weights.
    """

    batch = 16

    def __init__(self, path: Path | str, device: torch.device | str = "cpu") -> None:
        with torch.device("meta"):
            network = BiSeNet()
        load_strict(network, read_state(path), path)
        self._device = torch.device(device)
        self._dtype = torch.float16 if self._device.type == "cuda" else torch.float32
        self._network = network.eval().requires_grad_(False).to(self._device, self._dtype)
        if self._device.type == "cuda":
            self._network = self._network.to(memory_format=torch.channels_last)
        else:
            self.batch = 4  # more does not help a processor

    @torch.inference_mode()
    def labels(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 RGB -> (B, H, W) uint8."""
        prepared = normalized(images.to(self._device), self._dtype)
        return as_labels(self._network(prepared)[0], *images.shape[1:3])


class OnnxParser:
    """An ONNX export of the same network.

    Exports name their ends as they like and give one to three score maps, the wanted one first;
    so shapes are checked instead of names.

    Raises:
        UserError: other inputs or outputs than one 512-pixel image in, 19 scores a pixel out.
    """

    def __init__(self, path: Path | str, gpu: int | None = 0) -> None:
        self._session = open_session(path, gpu)
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        image, scores = inputs[0], outputs[0]
        sizes = [n for n in (*image.shape[2:], *scores.shape[2:]) if isinstance(n, int)]
        fits = (
            len(inputs) == 1
            and len(image.shape) == len(scores.shape) == 4
            and image.shape[1] == 3
            and not (isinstance(scores.shape[1], int) and scores.shape[1] != CLASSES)
            and all(n == SIZE for n in sizes)
            and image.type in DTYPES
        )
        if not fits:
            raise UserError(
                f"{path}: inputs {_described(inputs)}, first output {_described(outputs[:1])}; "
                f"a face parser takes (B, 3, {SIZE}, {SIZE}) and gives {CLASSES} scores a pixel; "
                "give an export of 79999_iter.pth"
            )
        self._input, self._output = image.name, scores.name
        self._float = DTYPES[image.type]
        self.batch = int(min(4, batch_limit(self._session)))

    def labels(self, images: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 RGB -> (B, H, W) uint8."""
        prepared = normalized(images, torch.float32).numpy().astype(self._float)
        parts = [
            self._session.run([self._output], {self._input: prepared[k : k + self.batch]})[0]
            for k in range(0, len(prepared), self.batch)
        ]
        scores = np.concatenate(parts)
        if scores.shape[1] != CLASSES:
            raise UserError(
                f"the face parser's output '{self._output}' has {scores.shape[1]} scores a pixel, "
                f"not {CLASSES}; give an export of 79999_iter.pth"
            )
        return as_labels(torch.from_numpy(scores), *images.shape[1:3])


def _described(nodes: list) -> str:
    return ", ".join(f"{node.name} {list(node.shape)}" for node in nodes)


def open_parser(path: Path | str, device: torch.device, gpu: int | None) -> FaceParser:
    """The engine for a weight file, by its suffix (`.onnx`, else torch's)."""
    if Path(path).suffix == ".onnx":
        return OnnxParser(path, gpu)
    return TorchParser(path, device)
