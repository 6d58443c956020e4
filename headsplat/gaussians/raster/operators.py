"""Operators of the compiled extension as differentiable, traceable functions; built on first use.

A differentiable operator `name` has a sibling `name_backward`. It takes the gradients of all
outputs, then the inputs, and returns gradients of the first inputs. Tensors precede other inputs.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from headsplat.gaussians.raster import extension


class Operator:
    """`torch.ops.headsplat.<name>`, loaded and registered with PyTorch on its first call.

    Args:
        name: name of the operator.
        like: inputs -> outputs of the right shapes, as `torch.library.register_fake` wants them.
        differentiable: number of leading inputs with (exact) gradients.
    """

    def __init__(self, name: str, like: Callable[..., Any], differentiable: int = 0) -> None:
        self._name, self._like, self._differentiable = name, like, differentiable
        self._call: Callable[..., Any] | None = None
        self._backward_call: Callable[..., Any] | None = None

    def __call__(self, *inputs: Any) -> Any:
        """Call the operator; the first input's device decides where it runs.

        Raises:
            IndexError: a row is out of range (CPU).
            TypeError: a tensor has the wrong type.
            ValueError: a shape, device or memory layout is wrong; all must be contiguous.
            UserError: the operators cannot be built, or not for this device.
        """
        if self._call is None:
            self._prepare()
        extension.require(inputs[0].device)
        return self._call(*inputs)

    def _prepare(self) -> None:
        extension.load()
        name = f"headsplat::{self._name}"
        torch.library.register_fake(name, self._like)
        if self._differentiable:
            self._backward_call = getattr(torch.ops.headsplat, f"{self._name}_backward")
            torch.library.register_fake(f"{name}_backward", self._like_backward)
            torch.library.register_autograd(name, self._backward, setup_context=_keep_inputs)
        self._call = getattr(torch.ops.headsplat, self._name)

    def _like_backward(self, *inputs: Any) -> Any:
        own = len(self._call.default._schema.arguments)
        found = [torch.empty_like(value) for value in inputs[-own:][: self._differentiable]]
        return found[0] if len(found) == 1 else tuple(found)

    def _backward(self, ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs = (*ctx.saved_tensors, *ctx.others)
        found = self._backward_call(*(value.contiguous() for value in gradients), *inputs)
        found = (found,) if isinstance(found, Tensor) else found
        return (*found, *[None] * (len(inputs) - len(found)))


def _keep_inputs(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    tensors = [value for value in inputs if isinstance(value, Tensor)]
    ctx.save_for_backward(*tensors)
    ctx.others = inputs[len(tensors) :]
