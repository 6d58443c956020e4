"""Frames of one avatar at the speed of the GPU: from codes to images as one CUDA graph.

A frame takes some hundred short kernels, and launching them one by one costs several times what
they compute. A graph launches them all at once; for that, all buffers are fixed, and nothing on
the way may wait for the GPU.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from headsplat.avatar import Avatar
from headsplat.gaussians.deform.codes import condition_size
from headsplat.gaussians.raster.gaussians import InstanceBudget
from headsplat.runtime.checks import check_shape
from headsplat.runtime.cuda_graph import recorded

# Pairs of Gaussian and strip to begin with, per Gaussian; the first pass finds the true number.
FIRST_PAIRS = 4

Images = tuple[Tensor, Tensor]


class FrameRenderer:
    """Draws frames of one avatar, all seen through one camera and on one background.

    On the CPU this is `Avatar.render`. On a GPU the first call captures that very function; later
    calls copy the codes in and replay it. Parameters changed in place are seen, an avatar that was
    moved or given other parameters is not. Images that lack Gaussians because a frame needed
    larger buffers than any before never come out: the buffers grow and the batch is drawn again.

    Images lie in fixed buffers. They hold until the next call on the same CUDA stream: copy what
    is to stay.

    Args:
        avatar: whose frames.
        batch: most frames of one call, and what a shorter one costs as well on a GPU.
        width: of the images.
        height: of the images.
        intrinsics: (4,) fx, fy, cx, cy in pixels.
        background: (3,) color.

    Raises:
        ValueError: a size or shape is wrong, here or in a call.
        UserError: in a call: a Gaussian has a parameter that is not finite.
    """

    def __init__(
        self,
        avatar: Avatar,
        batch: int,
        width: int,
        height: int,
        intrinsics: Tensor,
        background: Tensor,
    ) -> None:
        for name, value in (("batch", batch), ("width", width), ("height", height)):
            if value < 1:
                raise ValueError(f"{name}: expected 1 or more, got {value}")
        check_shape(intrinsics, "4", "intrinsics")
        check_shape(background, "3", "background")
        self.avatar, self.batch = avatar, batch
        self._size = width, height
        self._intrinsics = intrinsics.to(avatar.device).repeat(batch, 1)
        self._background = background.to(avatar.device).repeat(batch, 1)
        self._code = condition_size(avatar.head)
        # Two, so that one batch is drawn while the caller works on the one before.
        self._recordings: list[_Recording] = []

    def render(self, condition: Tensor, rotation: Tensor, translation: Tensor) -> Images:
        """Images of up to `batch` frames, drawn when this returns: it waits once.

        Args:
            condition: (B, C) codes exp | jaw 6D | eyes 12 | eyelids 2, on the CPU or the device.
            rotation: (B, 3, 3) head to OpenCV camera.
            translation: (B, 3) metres.

        Returns:
            color (B, H, W, 3) in 0..1 and alpha (B, H, W), on the avatar's device.
        """
        count = self._check(condition, rotation, translation)
        if count > self.batch:
            raise ValueError(
                f"condition: expected at most {self.batch} frames, got {count}; "
                "`frames` takes any number"
            )
        if self.avatar.device.type != "cuda":
            return self._draw(condition, rotation, translation)
        recording = self._recording(0)
        return recording.finish(recording.start(condition, rotation, translation), count)

    def frames(self, condition: Tensor, rotation: Tensor, translation: Tensor) -> Iterator[Images]:
        """Images of any number of frames, a batch at a time; arguments as in `render`.

        On a GPU the next batch is being drawn while the caller works on one, and the GPU is waited
        for only where a batch is handed out. Another call before the end breaks off the iteration.

        Yields:
            color and alpha of up to `batch` frames, which hold until the next batch is asked for.
        """
        self._check(condition, rotation, translation)
        parts = zip(*(v.split(self.batch) for v in (condition, rotation, translation)), strict=True)
        if self.avatar.device.type != "cuda":
            yield from (self._draw(*part) for part in parts)
            return
        drawn = None
        for k, part in enumerate(parts):
            recording = self._recording(k % 2)
            turn = recording.start(*part)
            if drawn is not None:
                yield drawn[0].finish(*drawn[1:])
            drawn = recording, turn, len(part[0])
        if drawn is not None:
            yield drawn[0].finish(*drawn[1:])

    def _check(self, condition: Tensor, rotation: Tensor, translation: Tensor) -> int:
        count = check_shape(condition, f"B {self._code}", "condition")["B"]
        check_shape(rotation, f"{count} 3 3", "rotation")
        check_shape(translation, f"{count} 3", "translation")
        if count == 0:
            raise ValueError("condition: expected at least one frame, got none")
        return count

    def _draw(
        self,
        condition: Tensor,
        rotation: Tensor,
        translation: Tensor,
        budget: InstanceBudget | None = None,
    ) -> Images:
        count = len(condition)
        return self.avatar.render(
            condition, rotation, translation, self._intrinsics[:count], *self._size,
            self._background[:count], budget,
        )  # fmt: skip

    def _recording(self, index: int) -> "_Recording":
        while len(self._recordings) <= index:
            pairs = FIRST_PAIRS * len(self.avatar.anchors)
            recording = _Recording(self._draw, self.batch, self._code, self.avatar.device, pairs)
            self._recordings.append(recording)
        return self._recordings[index]


class _SeenBudget(InstanceBudget):
    """Notes in host memory what a replay needed: `grow` may be called once that is done."""

    def __init__(self, pairs: int) -> None:
        super().__init__(pairs, "cpu")
        self._seen = self._seen.pin_memory()

    def note(self, need: Tensor) -> None:
        """See `InstanceBudget.note`; part of the graph."""
        self._seen.copy_(need, non_blocking=True)


class _Recording:
    """One graph, with its inputs and outputs.

    Args:
        draw: (condition, rotation, translation, budget) -> images, of `batch` frames.
        batch: frames.
        code: numbers in a frame's code.
        device: the GPU.
        pairs: the budget to begin with.
    """

    def __init__(
        self,
        draw: Callable[[Tensor, Tensor, Tensor, InstanceBudget], Images],
        batch: int,
        code: int,
        device: torch.device,
        pairs: int,
    ) -> None:
        self._draw = draw
        shapes = ((batch, code), (batch, 3, 3), (batch, 3))
        sizes = [batch * code, batch * 9, batch * 3]
        self._input = torch.zeros(sum(sizes), device=device)
        self._staged = torch.zeros(sum(sizes), pin_memory=True)
        self._given = [v.view(s) for v, s in zip(self._input.split(sizes), shapes, strict=True)]
        self._budget = _SeenBudget(pairs)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._images: Images | None = None
        self._done = torch.cuda.Event()
        self._turn = 0

    @torch.no_grad()
    def start(self, *frames: Tensor) -> int:
        """Queue the drawing of some frames; returns what `finish` has to be given."""
        # The copy to the GPU of a batch that nobody fetched may still be under way.
        self._done.synchronize()
        self._turn += 1
        target = self._staged if frames[0].device.type == "cpu" else self._input
        batch = len(self._given[0])
        parts = [_padded(value.to(target.device), batch).flatten() for value in frames]
        torch.cat(parts, out=target)
        if target is self._staged:
            self._input.copy_(self._staged, non_blocking=True)
        if self._graph is None:
            self._capture()
        self._replay()
        return self._turn

    def finish(self, turn: int, count: int) -> Images:
        """Wait for the drawing that `start` queued; its first `count` images."""
        if turn != self._turn:
            raise ValueError("frames: broken off by a later call of the same renderer")
        self._done.synchronize()
        while self._budget.grow():
            self._capture()
            self._replay()
            self._done.synchronize()
        color, alpha = self._images
        return color[:count], alpha[:count]

    def _replay(self) -> None:
        self._graph.replay()
        self._done.record()

    @torch.no_grad()
    def _capture(self) -> None:
        self._graph = self._images = None  # what the last one held is free again
        # Libraries make their handles in a first pass; it also finds how large buffers must be.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._draw(*self._given, self._budget)
            side.synchronize()
            while self._budget.grow():
                self._draw(*self._given, self._budget)
                side.synchronize()
        with recorded() as graph:
            self._images = self._draw(*self._given, self._budget)
        self._graph = graph


def _padded(value: Tensor, batch: int) -> Tensor:
    """(n, ...) -> (batch, ...), the last row repeated."""
    short = batch - len(value)
    return torch.cat([value, value[-1:].expand(short, *value.shape[1:])]) if short else value
