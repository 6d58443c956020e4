"""Comparison of `rasterize_gaussians` with the float64 reference: images and all gradients."""

import torch
from torch import Tensor

from headsplat.gaussians.raster.gaussians import rasterize_gaussians
from tests.oracles.gaussian_scenes import Scene
from tests.oracles.gaussians import rasterize_reference

INPUTS = ("means", "quats", "scales", "opacities", "colors", "R", "t", "background")
ORDER = (
    "means", "quats", "scales", "opacities", "colors", "R", "t", "K4", "width", "height",
    "background",
)  # fmt: skip


def gradients_of(function, inputs: Scene, weights: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    leaves = {k: inputs[k].clone().requires_grad_() for k in INPUTS}
    color, alpha = function(*((inputs | leaves)[name] for name in ORDER))
    loss = (color * weights[0]).sum() + (alpha * weights[1]).sum()
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    return {
        k: torch.zeros_like(leaves[k]) if g is None else g
        for k, g in zip(leaves, found, strict=True)
    }


def relative(found: Tensor, true: Tensor) -> float:
    """|found - true| / |true| over the whole tensor, on the CPU in float64."""
    found, true = found.detach().double().cpu(), true.detach().double().cpu()
    assert found.shape == true.shape
    return float((found - true).norm() / true.norm().clamp_min(1e-12)) if true.numel() else 0.0


def compare(inputs: Scene, device: str = "cpu") -> dict[str, float]:
    """Relative errors of images and gradients, and the fraction of excluded pixels."""
    double = {k: v.double() if isinstance(v, Tensor) else v for k, v in inputs.items()}
    local = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in inputs.items()}
    reference = rasterize_reference(*(double[name] for name in ORDER))
    color, alpha = rasterize_gaussians(*(local[name] for name in ORDER))
    clear = reference.clear
    random = torch.Generator().manual_seed(7)
    weights = (
        torch.randn(color.shape, generator=random).double() * clear[..., None],
        torch.randn(alpha.shape, generator=random).double() * clear,
    )

    def oracle(*args):
        found = rasterize_reference(*args)
        return found.color, found.alpha

    true = gradients_of(oracle, double, weights)
    found = gradients_of(rasterize_gaussians, local, tuple(w.float().to(device) for w in weights))
    mask = clear.to(device)
    errors = {
        "color": relative(color[mask], reference.color[clear]),
        "alpha": relative(alpha[mask], reference.alpha[clear]),
        "left out": 1 - float(clear.float().mean()),
    }
    return errors | {f"d {name}": relative(found[name], true[name]) for name in INPUTS}
