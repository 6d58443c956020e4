"""Fast rendering of one avatar from frame codes to images, on a GPU as one CUDA graph.

A frame takes some hundred short kernels, whose launches cost several times their computation. A
CUDA graph launches them all at once. It needs fixed buffers and no synchronization with the host.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from headsplat.avatar import Avatar
from headsplat.frame_code import FrameCode
from headsplat.gaussians.raster.gaussians import InstanceBudget
from headsplat.runtime.checks import check_shape
from headsplat.runtime.cuda_graph import CudaGraph

# Initial budget of Gaussian-strip pairs per Gaussian; the first pass finds the real number.
FIRST_PAIRS = 4

Images = tuple[Tensor, Tensor]


class FrameRenderer:
    """Renders frames of one avatar with one camera and one background.

    On the CPU this is `Avatar.render_codes`. On a GPU the first call captures that function; later
    calls copy the codes in and replay it. Parameters changed in place take effect. An avatar moved
    to another device or given new parameter tensors needs a new renderer. If a frame needs larger
    buffers, they grow and the batch is rendered again, so no image lacks Gaussians.

    Images are in fixed buffers, valid until the next call on the same CUDA stream. Copy them to
    keep them.

    Args:
        avatar: the avatar to render.
        batch: largest number of frames per call; on a GPU a shorter call costs as much.
        width: of the images.
        height: of the images.
        intrinsics: (4,) fx, fy, cx, cy in pixels.
        background: (3,) color.
        head_only: leave the torso out.

    Raises:
        ValueError: a size or shape is wrong, here or in a call.
        UserError: raised by a call if a Gaussian has a parameter that is not finite.
    """

    def __init__(
        self,
        avatar: Avatar,
        batch: int,
        width: int,
        height: int,
        intrinsics: Tensor,
        background: Tensor,
        head_only: bool = False,
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
        self._head_only = head_only
        self._code = FrameCode.size(avatar.head)
        # Two recordings, so that one batch renders while the caller processes the previous one;
        # a stiff neck has its own, because a graph fixes which inputs there are.
        self._recordings: dict[tuple[int, int], _Recording] = {}

    def render(
        self,
        condition: Tensor,
        rotation: Tensor,
        translation: Tensor,
        trunk: Tensor | None = None,
    ) -> Images:
        """Render up to `batch` frames; synchronizes with the GPU once.

        Args:
            condition: (B, C) codes exp | jaw 6D | eyes 12 | eyelids 2, on the CPU or the device.
            rotation: (B, 3, 3) head to OpenCV camera.
            translation: (B, 3) meters.
            trunk: (B, 3, 4) trunk to head, meters; None for a stiff neck.

        Returns:
            color (B, H, W, 3) in 0..1 and alpha (B, H, W), on the avatar's device.
        """
        frames = self._checked(condition, rotation, translation, trunk)
        count = len(condition)
        if count > self.batch:
            raise ValueError(
                f"condition: expected at most {self.batch} frames, got {count}; "
                "`frames` takes any number"
            )
        if self.avatar.device.type != "cuda":
            return self._draw(*frames)
        recording = self._recording(0, len(frames))
        return recording.finish(recording.start(*frames), count)

    def frames(
        self,
        condition: Tensor,
        rotation: Tensor,
        translation: Tensor,
        trunk: Tensor | None = None,
    ) -> Iterator[Images]:
        """Render any number of frames, batch by batch; arguments as in `render`.

        On a GPU the next batch renders while the caller processes the current one. The iterator
        synchronizes once per batch. Another call before the end invalidates the iteration.

        Yields:
            color and alpha of up to `batch` frames, valid until the next batch is requested.
        """
        frames = self._checked(condition, rotation, translation, trunk)
        parts = zip(*(value.split(self.batch) for value in frames), strict=True)
        if self.avatar.device.type != "cuda":
            yield from (self._draw(*part) for part in parts)
            return
        drawn = None
        for k, part in enumerate(parts):
            recording = self._recording(k % 2, len(part))
            turn = recording.start(*part)
            if drawn is not None:
                yield drawn[0].finish(*drawn[1:])
            drawn = recording, turn, len(part[0])
        if drawn is not None:
            yield drawn[0].finish(*drawn[1:])

    def _checked(
        self, condition: Tensor, rotation: Tensor, translation: Tensor, trunk: Tensor | None
    ) -> tuple[Tensor, ...]:
        count = check_shape(condition, f"B {self._code}", "condition")["B"]
        check_shape(rotation, f"{count} 3 3", "rotation")
        check_shape(translation, f"{count} 3", "translation")
        if count == 0:
            raise ValueError("condition: expected at least one frame, got none")
        if trunk is None:
            return condition, rotation, translation
        check_shape(trunk, f"{count} 3 4", "trunk")
        return condition, rotation, translation, trunk

    def _draw(
        self,
        condition: Tensor,
        rotation: Tensor,
        translation: Tensor,
        trunk: Tensor | None = None,
        budget: InstanceBudget | None = None,
    ) -> Images:
        count = len(condition)
        return self.avatar.render_codes(
            condition, rotation, translation, self._intrinsics[:count], *self._size,
            self._background[:count], budget, trunk, self._head_only,
        )  # fmt: skip

    def _recording(self, index: int, inputs: int) -> "_Recording":
        key = index, inputs
        if key not in self._recordings:
            shapes = ((self._code,), (3, 3), (3,), (3, 4))[:inputs]
            pairs = FIRST_PAIRS * self.avatar.count
            self._recordings[key] = _Recording(
                self._draw, [(self.batch, *shape) for shape in shapes], self.avatar.device, pairs
            )
        return self._recordings[key]


class _HostBudget(InstanceBudget):
    """Budget whose need is copied to host memory; call `grow` after the replay."""

    def __init__(self, pairs: int) -> None:
        super().__init__(pairs, "cpu")
        self._seen = self._seen.pin_memory()

    def note(self, need: Tensor) -> None:
        """See `InstanceBudget.note`; part of the graph."""
        self._seen.copy_(need, non_blocking=True)


class _Recording:
    """One captured CUDA graph with its input and output buffers.

    Args:
        draw: (*inputs, budget) -> images of a batch of frames.
        shapes: of the inputs, the batch first.
        device: the GPU.
        pairs: initial budget.
    """

    def __init__(
        self,
        draw: Callable[..., Images],
        shapes: Sequence[tuple[int, ...]],
        device: torch.device,
        pairs: int,
    ) -> None:
        self._draw = draw
        sizes = [math.prod(shape) for shape in shapes]
        self._input = torch.zeros(sum(sizes), device=device)
        self._staged = torch.zeros(sum(sizes), pin_memory=True)
        self._given = [v.view(s) for v, s in zip(self._input.split(sizes), shapes, strict=True)]
        self._budget = _HostBudget(pairs)
        self._graph = CudaGraph(self._draw_once, device, self._given)
        self._images: Images | None = None
        self._done = torch.cuda.Event()
        self._turn = 0

    @torch.no_grad()
    def start(self, *frames: Tensor) -> int:
        """Enqueue the rendering of some frames; returns the token for `finish`."""
        # The copy of an unfetched batch to the GPU may still be running.
        self._done.synchronize()
        self._turn += 1
        target = self._staged if frames[0].device.type == "cpu" else self._input
        batch = len(self._given[0])
        parts = [_padded(value.to(target.device), batch).flatten() for value in frames]
        torch.cat(parts, out=target)
        if target is self._staged:
            self._input.copy_(self._staged, non_blocking=True)
        if not self._graph.is_recorded:
            self._record()
        self._replay()
        return self._turn

    def finish(self, turn: int, count: int) -> Images:
        """Wait for the rendering that `start` enqueued and return its first `count` images."""
        if turn != self._turn:
            raise ValueError("frames: broken off by a later call of the same renderer")
        self._done.synchronize()
        while self._budget.grow():
            self._record()
            self._replay()
            self._done.synchronize()
        color, alpha = self._images
        return color[:count], alpha[:count]

    def _replay(self) -> None:
        self._images = self._graph.replay()
        self._done.record()

    def _draw_once(self, *inputs: Tensor) -> Images:
        return self._draw(*inputs, budget=self._budget)

    @torch.no_grad()
    def _record(self) -> None:
        self._images = None
        self._graph.forget()  # its memory is free again
        # The warm-up also finds the required buffer sizes.
        self._warm_up()
        while self._budget.grow():
            self._warm_up()
        self._graph.record()

    def _warm_up(self) -> None:
        self._graph.warm_up(1)
        torch.cuda.current_stream().synchronize()


def _padded(value: Tensor, batch: int) -> Tensor:
    """(n, ...) -> (batch, ...), the last row repeated."""
    short = batch - len(value)
    return torch.cat([value, value[-1:].expand(short, *value.shape[1:])]) if short else value
