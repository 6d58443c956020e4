"""Float64 reference of the deformation operators in plain PyTorch, and random inputs."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from headsplat.gaussians import anchors, sh
from headsplat.gaussians.deform import blendshapes, flashavatar
from headsplat.rotations import quaternion_from_matrix

_C1 = 0.4886025119029199
_C2 = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)
_C3 = (
    -0.5900435899266435, 2.890611442640554, -0.4570457994644658, 0.3731763325901154,
    1.445305721320277,
)  # fmt: skip


def basis(directions: Tensor, degree: int) -> Tensor:
    """Values of the (degree + 1)^2 real spherical harmonics at unit directions (..., 3)."""
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    values = [
        torch.full_like(x, sh.C0),
        -_C1 * y,
        _C1 * z,
        -_C1 * x,
        _C2[0] * x * y,
        -_C2[0] * y * z,
        _C2[1] * (2 * zz - xx - yy),
        -_C2[0] * x * z,
        _C2[2] * (xx - yy),
        _C3[0] * y * (3 * xx - yy),
        _C3[1] * x * y * z,
        _C3[2] * y * (4 * zz - xx - yy),
        _C3[3] * z * (2 * zz - 3 * xx - 3 * yy),
        _C3[2] * x * (4 * zz - xx - yy),
        _C3[4] * z * (xx - yy),
        _C3[0] * x * (xx - 3 * yy),
    ]
    return torch.stack(values[: (degree + 1) ** 2], -1)


def harmonic_colors(
    constant: Tensor, rest: Tensor, means: Tensor, centers: Tensor, degree: int
) -> Tensor:
    """As `headsplat.gaussians.sh.harmonic_colors`."""
    values = basis(normalize(means - centers[:, None], dim=-1), degree)
    coefficients = torch.cat([constant, rest], 1)[:, : values.shape[-1]]
    return (torch.einsum("bnk,nkc->bnc", values, coefficients) + 0.5).clamp_min(0)


def quaternion_product(left: Tensor, right: Tensor) -> Tensor:
    """Hamilton product, (..., 4) x (..., 4) -> (..., 4)."""
    w, axis = left[..., :1], left[..., 1:]
    other_w, other = right[..., :1], right[..., 1:]
    real = w * other_w - (axis * other).sum(-1, keepdim=True)
    return torch.cat([real, w * other + other_w * axis + torch.linalg.cross(axis, other)], -1)


def rotate(quaternion: Tensor, vector: Tensor) -> Tensor:
    """Turn (..., 3) vectors by (..., 4) unit quaternions: q v q*."""
    pure = torch.cat([torch.zeros_like(vector[..., :1]), vector], -1)
    back = quaternion * quaternion.new_tensor([1, -1, -1, -1])
    return quaternion_product(quaternion_product(quaternion, pure), back)[..., 1:]


def place_anchors(
    vertices: Tensor, corners: Tensor, weights: Tensor, heights: Tensor
) -> tuple[Tensor, Tensor]:
    """As `AnchoredSurface.place`, for triangles with nonzero area."""
    a, b, c = vertices[:, corners.long()].unbind(2)
    normal = normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    tangent = normalize(b - a, dim=-1)
    frame = torch.stack([tangent, torch.linalg.cross(normal, tangent), normal], -1)
    flat = a + weights[:, :1] * (b - a) + weights[:, 1:] * (c - a)
    return flat + heights[:, None] * normal, quaternion_from_matrix(frame)


def blendshape_gaussians(
    mixed: Tensor, positions: Tensor, rotations: Tensor, units: list[float], largest: float
) -> tuple[Tensor, ...]:
    """The last part of `BlendshapeDeformation.forward`."""
    count = positions.shape[1]
    sizes = [3, 4, 3, 1, 3]
    blocks = mixed.split([size * count for size in sizes], 1)
    offset, quat, log_scale, opacity, color = (
        block.unflatten(1, (count, size)) * unit
        for block, size, unit in zip(blocks, sizes, units, strict=True)
    )
    return (
        positions + rotate(rotations, offset),
        quaternion_product(rotations, quat),
        log_scale.clamp_max(largest).exp(),
        torch.sigmoid(opacity[..., 0]),
        color,
    )


def flashavatar_gaussians(
    outputs: Tensor, rotation_base: Tensor, scaling_base: Tensor, positions: Tensor
) -> tuple[Tensor, ...]:
    """The last part of `FlashAvatarDeformation.forward`."""
    t = torch.tanh(outputs[..., :10])
    delta = torch.cat([t[..., 3:4].exp(), t[..., 4:7]], -1)
    return (
        positions + t[..., :3],
        quaternion_product(rotation_base.expand_as(delta), delta),
        (scaling_base * t[..., 7:].exp()).exp(),
    )


# Name -> operator, oracle, number of leading inputs with gradients.
OPERATORS = {
    "place_anchors": (anchors._place_anchors, place_anchors, 0),
    "harmonic_colors": (sh.harmonic_colors, harmonic_colors, 3),
    "blendshape_gaussians": (blendshapes._place_gaussians, blendshape_gaussians, 1),
    "flashavatar_gaussians": (flashavatar._place_gaussians, flashavatar_gaussians, 3),
}
# Batch and number of Gaussians: below, at and above the sizes of a vector, warp, block and band;
# more frames than a block has warps.
SIZES = [(1, 1), (3, 7), (2, 8), (9, 33), (17, 130), (1, 300)]


def scene(name: str, batch: int, count: int, degree: int = 3) -> list[Tensor | float]:
    """An operator's inputs, float32 on the CPU."""
    random = torch.Generator().manual_seed(100 * batch + count)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random)

    if name == "place_anchors":
        corners = torch.rand(count, 40, generator=random).argsort(1)[:, :3].contiguous()
        shares = torch.rand(count, 3, generator=random)
        weights = (shares / shares.sum(1, keepdim=True))[:, 1:].contiguous()
        return [normal(batch, 40, 3), corners.int(), weights, 0.1 * normal(count)]
    if name == "harmonic_colors":
        centers = torch.tensor([0.1, -0.2, 1.5]) + 0.3 * normal(batch, 3)
        coefficients = normal(count, 1, 3), 0.4 * normal(count, 15, 3)
        return [*coefficients, 0.3 * normal(batch, count, 3), centers, degree]
    positions = 0.1 * normal(batch, count, 3)
    if name == "blendshape_gaussians":
        rotations = normalize(normal(batch, count, 4), dim=-1)
        # Half of the log scales exceed the limit.
        return [normal(batch, 14 * count), positions, rotations, [0.4, 0.7, 0.9, 1.3, 0.6], 0.1]
    # From slopes near one to the saturation of tanh.
    outputs = 1.5 * normal(batch, count, 16) * torch.rand(batch, count, 16, generator=random) ** 3
    return [outputs, normal(count, 4), -5 + 0.5 * normal(count, 3), positions]


def moved(inputs, to):
    """Tensors of floats `.to(to)`, others to its device if it is one."""
    whole = to if isinstance(to, (str, torch.device)) else None
    return [
        v.to(to) if isinstance(v, Tensor) and (whole or v.is_floating_point()) else v
        for v in inputs
    ]


def values_and_gradients(function, inputs, differentiable: int) -> tuple[list, list]:
    """Outputs, and gradients of a fixed random combination of them to the leading inputs."""
    leaves = [value.detach().clone().requires_grad_() for value in inputs[:differentiable]]
    outputs = function(*leaves, *inputs[differentiable:])
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    total = torch.zeros((), dtype=outputs[0].dtype, device=outputs[0].device)
    for k, value in enumerate(outputs):
        # The same float32 weights for both, so that only the functions differ.
        weight = torch.cos(torch.arange(value.numel(), dtype=torch.float64) * (1.7 + k)).float()
        total = total + (value * weight.to(value).view_as(value)).sum()
    gradients = torch.autograd.grad(total, leaves, allow_unused=True) if leaves else []
    return [value.detach() for value in outputs], list(gradients)


def compare(name: str, inputs, device: str = "cpu") -> tuple[list, list]:
    """Assert that an operator agrees with its oracle; returns the operator's results."""
    operator, oracle, differentiable = OPERATORS[name]
    inputs = moved(inputs, device)
    found = values_and_gradients(operator, inputs, differentiable)
    true = values_and_gradients(oracle, moved(inputs, torch.float64), differentiable)
    for ours, theirs in zip(sum(found, []), sum(true, []), strict=True):
        theirs = torch.zeros_like(ours) if theirs is None else theirs
        assert ours.shape == theirs.shape
        assert ours.dtype == torch.float32
        limit = 2e-6 * max(theirs.abs().max().item(), 1e-30) if theirs.numel() else 0
        torch.testing.assert_close(ours.double(), theirs.double(), rtol=3e-6, atol=limit)
    return found
