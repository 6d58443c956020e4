"""Memory-efficient MLP with ReLUs over many rows in half precision, forward and backward.

A network of 256 units with one row per Gaussian and frame is limited by memory bandwidth. Each
layer is one matrix product with bias and ReLU in its epilogue. Only activations after ReLUs are
stored, in half precision; they also give the ReLU mask. Parameter gradients are summed and returned
in single precision.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from headsplat.gaussians.raster.operators import Operator

_relu_gradient = Operator(
    "relu_gradient",
    lambda gradient, values: gradient.new_empty(gradient.shape[1], dtype=torch.float32),
)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Matrix product that is summed and returned in single precision or better."""
    if left.is_cuda and left.dtype.itemsize == 2:
        return torch.mm(left, right, out_dtype=torch.float32)
    wide = torch.promote_types(left.dtype, torch.float32)
    return left.to(wide) @ right.to(wide)


def _column_sums(rows: Tensor) -> Tensor:
    """(R, C) -> (C,) by a product with ones, three times faster than a reduction on a GPU.

    Eight equal rows of ones, because products with a single row are slow.
    """
    return _product(rows.new_ones(8, len(rows)), rows)[0]


def _mask(gradient: Tensor, values: Tensor) -> Tensor:
    """Apply the ReLU mask to a gradient, in place; returns its column sums."""
    if gradient.is_cuda and gradient.dtype == torch.bfloat16:
        return _relu_gradient(gradient, values)
    torch.ops.aten.threshold_backward.grad_input(gradient, values, 0, grad_input=gradient)
    return _column_sums(gradient)


def _cast(tensors: list[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """Copies in another precision, on a GPU in one launch."""
    copies = [torch.empty_like(tensor, dtype=dtype) for tensor in tensors]
    torch._foreach_copy_(copies, tensors)
    return copies


class _ReluNetwork(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: Tensor, *parameters: Tensor) -> Tensor:
        *most, last_bias = parameters
        cast = _cast(most, rows.dtype)
        weights, biases = cast[::2], cast[1::2]
        values = [rows]
        for weight, bias in zip(weights[:-1], biases, strict=True):
            values.append(torch._addmm_activation(bias, values[-1], weight.t()))
        ctx.save_for_backward(*values, *weights)
        return _product(values[-1], weights[-1].t()).add_(last_bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layers = len(ctx.saved_tensors) // 2
        values, weights = ctx.saved_tensors[:layers], ctx.saved_tensors[layers:]
        gradient = gradient.to(values[0].dtype)
        sums = _column_sums(gradient)
        found: list[Tensor | None] = []
        for layer in reversed(range(layers)):
            found[:0] = [_product(gradient.t(), values[layer]), sums]
            if layer:
                gradient = gradient @ weights[layer]
                sums = _mask(gradient, values[layer])
        return None, *found


def relu_network(rows: Tensor, *layers: tuple[Tensor, Tensor]) -> Tensor:
    """Linear layers with a ReLU between each two, in the precision of `rows`.

    Half-precision products on a GPU are fast for widths that are multiples of 8.

    Args:
        rows: (R, K); no gradient.
        layers: weight (out, in) and bias (out,) of each, in single precision (or the precision of
            `rows`, if that is better); they get gradients of their own precision.

    Returns:
        (R, out of the last layer), in the parameters' precision.
    """
    return _ReluNetwork.apply(rows, *(tensor for layer in layers for tensor in layer))
