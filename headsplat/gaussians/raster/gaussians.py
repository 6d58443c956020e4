"""Differentiable 3D Gaussian rasterization of batches of frames, on CPU and CUDA.

`cuda_ext/csrc/gaussians.h` describes the image formation and the differences from the published 3D
Gaussian splatting kernels.
"""

from typing import Any

import torch
from torch import Tensor

from headsplat.gaussians.raster import extension
from headsplat.runtime.checks import check_shape
from headsplat.runtime.errors import UserError

_ready = False
_PARAMETERS = 9  # differentiable inputs of the operator


class InstanceBudget:
    """Capacity for Gaussian-strip pairs (16x8 pixels), which avoids synchronization with the GPU.

    Without a budget, every call on a GPU reads the number of pairs back to size its buffers.
    With one, buffers have a fixed size and calls can be captured in a CUDA graph; the required
    number is recorded on the device. Call `grow` outside of the hot path, e.g. every hundred steps.
    If it returns True, some images since the last call lacked Gaussians. Repeat that work from a
    saved state, with a new graph.

    On the CPU a budget has no effect.
    """

    def __init__(self, pairs_per_frame: int, device: torch.device | str) -> None:
        self.pairs = int(pairs_per_frame)
        self._seen = torch.zeros(2, dtype=torch.int32, device=device)

    def note(self, need: Tensor) -> None:
        """Record on the device the number of pairs that one call needed."""
        torch.maximum(self._seen, need, out=self._seen)

    def grow(self) -> bool:
        """Read the largest need since the last call (synchronizes) and grow if necessary.

        Raises:
            UserError: a Gaussian had a parameter that is not finite.
        """
        pairs, broken = self._seen.tolist()
        self._seen.zero_()
        if broken:
            raise UserError(f"{broken} Gaussians of one batch have parameters that are not finite")
        if pairs <= self.pairs:
            return False
        self.pairs = pairs + pairs // 4
        return True


def rasterize_gaussians(
    means: Tensor,
    quats: Tensor,
    scales: Tensor,
    opacities: Tensor,
    colors: Tensor,
    R: Tensor,
    t: Tensor,
    K4: Tensor,
    width: int,
    height: int,
    background: Tensor,
    budget: InstanceBudget | None = None,
) -> tuple[Tensor, Tensor]:
    """Render a batch of frames, each with its own Gaussians and camera; all float32.

    3D Gaussian splatting (Kerbl et al. 2023) with an arbitrary principal point. Differences:
    quaternions are normalized here. Divisions have no epsilon. Gradients are the exact piecewise
    derivatives, so none flows where alpha is clamped to 0.99. The field of view that clamps the
    projection's Jacobian is that of the off-center camera.

    Args:
        means: (B, N, 3) world.
        quats: (B, N, 4) or (N, 4) for all frames: w, x, y, z, of any length but zero.
        scales: (B, N, 3) or (N, 3): standard deviations along the axes, world units.
        opacities: (B, N) or (N,) in (0, 1).
        colors: (B, N, 3) or (N, 3).
        R: (B, 3, 3) world to camera (OpenCV axes).
        t: (B, 3).
        K4: (B, 4) or (4,): fx, fy, cx, cy, pixels. No gradient.
        width: columns.
        height: rows.
        background: (B, 3) or (3,).
        budget: fixed buffers on a GPU; see `InstanceBudget`.

    Returns:
        color: (B, height, width, 3), over the background.
        alpha: (B, height, width), one minus the transmittance to the background.

    Raises:
        ValueError: a shape, type or device is wrong, or a parameter is not finite (on a GPU with a
            budget, `InstanceBudget.grow` says so).
        UserError: the operators cannot be built, or not for this device.
    """
    if not _ready:
        _prepare()
    extension.require(means.device)
    sizes = check_shape(means, "B N 3", "means")
    batch, count = sizes["B"], sizes["N"]
    color, alpha, *_, need = torch.ops.headsplat.rasterize_gaussians(
        _packed(means),
        _frames(quats, (batch, count, 4)),
        _frames(scales, (batch, count, 3)),
        _frames(opacities, (batch, count)),
        _frames(colors, (batch, count, 3)),
        R.contiguous(),
        t.contiguous(),
        _frames(K4.detach(), (batch, 4)).contiguous(),
        _frames(background, (batch, 3)).contiguous(),
        width,
        height,
        budget.pairs if budget is not None else 0,
    )
    if budget is not None:
        budget.note(need)
    return color, alpha


def _packed(value: Tensor) -> Tensor:
    # Shared parameters have a stride of 0 over frames, which the operator uses.
    return value if value.dim() and len(value) and value[0].is_contiguous() else value.contiguous()


def _frames(value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Expand a parameter shared by all frames, without a copy."""
    return _packed(value.expand(shape) if value.dim() == len(shape) - 1 else value)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.width, ctx.height, _ = inputs
    kept = output[2:]  # transmittance, reached, state, list, need
    ctx.save_for_backward(*tensors, *kept[:-1])
    ctx.mark_non_differentiable(*kept)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, d_color: Tensor | None, d_alpha: Tensor | None, *_: Any) -> tuple[Any, ...]:
    *tensors, transmittance, reached, state, pairs = ctx.saved_tensors
    if d_color is None:
        d_color = transmittance.new_zeros((*transmittance.shape, 3))
    wanted = ctx.needs_input_grad
    camera = wanted[5] or wanted[6]
    gradients: list[Tensor | None] = [None] * _PARAMETERS
    if any(wanted[:7]):
        found = torch.ops.headsplat.rasterize_gaussians_backward(
            d_color.contiguous(), None if d_alpha is None else d_alpha.contiguous(), *tensors,
            transmittance, reached, state, pairs, ctx.width, ctx.height, camera,
        )  # fmt: skip
        gradients[: 7 if camera else 5] = found[: 7 if camera else 5]
    if wanted[8]:
        gradients[8] = torch.einsum("bhw,bhwc->bc", transmittance, d_color)
    return (*gradients, None, None, None)


def _prepare() -> None:
    global _ready
    extension.load()

    @torch.library.register_fake("headsplat::rasterize_gaussians")
    def _(means, quats, scales, opacities, colors, R, t, K4, background, width, height, capacity):
        batch, count, _ = means.shape
        plane = (batch, height, width)
        state, pairs = 0, (0,)
        if means.device.type == "cuda":
            tiles = ((width + 15) // 16) * ((height + 15) // 16)
            state = batch * count * 52 + 4 * batch * (tiles + 1)
            pairs = (batch, capacity or torch.library.get_ctx().new_dynamic_size())
        return (
            means.new_empty((*plane, 3)),
            means.new_empty(plane),
            means.new_empty(plane),
            means.new_empty(plane, dtype=torch.int32),
            means.new_empty(state, dtype=torch.uint8),
            means.new_empty(pairs, dtype=torch.int32),
            means.new_empty(2, dtype=torch.int32),
        )

    @torch.library.register_fake("headsplat::rasterize_gaussians_backward")
    def _(d_color, d_alpha, means, quats, scales, opacities, colors, R, t, K4, background,
          transmittance, reached, state, pairs, width, height, camera):  # fmt: skip
        batch, count, _ = means.shape
        frames = batch if camera else 0
        return (
            means.new_empty((batch, count, 3)),
            means.new_empty((batch, count, 4)),
            means.new_empty((batch, count, 3)),
            means.new_empty((batch, count)),
            means.new_empty((batch, count, 3)),
            means.new_empty((frames, 3, 3)),
            means.new_empty((frames, 3)),
        )

    torch.library.register_autograd(
        "headsplat::rasterize_gaussians", _backward, setup_context=_setup_context
    )
    _ready = True
