"""Linear layers and ReLUs over very many rows in half precision, moving few bytes.

A network of 256 units with a row for every Gaussian of every frame waits for memory rather than for
arithmetic. So each layer is one product with the bias and the ReLU in its epilogue; values are kept
in half precision, and only those after a ReLU, which also say where its gradient passes; what is
summed over rows, the parameters' gradients, is summed and returned in single precision.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Matrix product that is summed and returned in single precision or better."""
    if left.is_cuda and left.dtype.itemsize == 2:
        return torch.mm(left, right, out_dtype=torch.float32)
    wide = torch.promote_types(left.dtype, torch.float32)
    return left.to(wide) @ right.to(wide)


class _ReluNetwork(torch.autograd.Function):
    @staticmethod
    def forward(ctx, rows: Tensor, *parameters: Tensor) -> Tensor:
        weights = [weight.to(rows.dtype) for weight in parameters[::2]]
        *biases, last_bias = parameters[1::2]
        values = [rows]
        for weight, bias in zip(weights[:-1], biases, strict=True):
            values.append(torch._addmm_activation(bias.to(rows.dtype), values[-1], weight.t()))
        ctx.save_for_backward(*values, *weights)
        return _product(values[-1], weights[-1].t()).add_(last_bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        layers = len(ctx.saved_tensors) // 2
        values, weights = ctx.saved_tensors[:layers], ctx.saved_tensors[layers:]
        wide = gradient.dtype
        gradient = gradient.to(values[0].dtype)
        found: list[Tensor | None] = []
        for layer in reversed(range(layers)):
            of_bias = None
            if ctx.needs_input_grad[2 + 2 * layer]:
                of_bias = gradient.sum(0, dtype=wide)
            found[:0] = [_product(gradient.t(), values[layer]), of_bias]
            if layer:
                gradient = gradient @ weights[layer]
                torch.ops.aten.threshold_backward.grad_input(
                    gradient, values[layer], 0, grad_input=gradient
                )
        return None, *found


def relu_network(rows: Tensor, *layers: tuple[Tensor, Tensor]) -> Tensor:
    """Linear layers with a ReLU between each two, in the precision of `rows`.

    Widths that are multiples of 8 are what half-precision products on a card are fast at.

    Args:
        rows: (R, K); no gradient goes to them.
        layers: weight (out, in) and bias (out,) of each, in single precision (or the precision of
            `rows`, if that is better); they get gradients of their own precision.

    Returns:
        (R, out of the last layer), in the parameters' precision.
    """
    return _ReluNetwork.apply(rows, *(tensor for layer in layers for tensor in layer))
