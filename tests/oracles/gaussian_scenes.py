"""Edge cases of the Gaussian rasterizer; each scene is a dictionary of float32 inputs."""

import torch
from torch import Tensor

Scene = dict[str, Tensor | int]


def scene(
    seed: int = 0, batch: int = 1, count: int = 60, width: int = 45, height: int = 37
) -> Scene:
    """Random Gaussians of a few pixels, a rotated camera with an off-center principal point."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    focal = 1.5 * width
    axis = 0.3 * normal(batch, 3)
    R = torch.linalg.matrix_exp(torch.linalg.cross(torch.eye(3).expand(batch, 3, 3), axis[:, None]))
    R = R * torch.tensor([1.0, -1.0, -1.0])[:, None]
    view = normal(batch, count, 3) * torch.tensor([0.3, 0.25, 0.2]) + torch.tensor([0, 0, 1.0])
    t = torch.tensor([0.05, -0.03, 0.1]) + 0.02 * normal(batch, 3)
    return {
        "means": (view - t[:, None]) @ R,
        "quats": normal(batch, count, 4),
        "scales": torch.exp(0.5 * normal(batch, count, 3)) * 2.5 / focal,
        "opacities": torch.sigmoid(1.5 * normal(batch, count)),
        "colors": torch.rand(batch, count, 3, generator=random),
        "R": R,
        "t": t,
        "K4": torch.tensor([focal, 1.1 * focal, 0.42 * width, 0.57 * height]).repeat(batch, 1),
        "background": torch.rand(batch, 3, generator=random),
        "width": width,
        "height": height,
    }


def _with(base: Scene, **changes) -> Scene:
    return base | {k: v(base[k]) if callable(v) else v for k, v in changes.items()}


def _needles(scales: Tensor) -> Tensor:
    return scales * torch.tensor([30.0, 0.02, 0.02])


def _world(base: Scene, view: Tensor) -> Tensor:
    return (view - base["t"][:, None]) @ base["R"]


def _shared(base: Scene) -> Scene:
    names = ("quats", "scales", "opacities", "colors")
    return base | {k: base[k][0].clone() for k in names} | {"K4": base["K4"][0].clone()} | {
        "background": base["background"][0].clone()
    }  # fmt: skip


def scenes() -> dict[str, Scene]:
    """Name -> scene."""
    plain = scene(1)
    spread = scene(2)
    view = torch.randn(1, 60, 3, generator=torch.Generator().manual_seed(9)) * 0.8
    two_sizes = scene(3)["scales"] * torch.where(torch.arange(60) % 2 == 0, 20.0, 0.05)[:, None]
    pair = scene(4, count=40)
    pair["means"] = pair["means"][:, :1].repeat(1, 40, 1)
    return {
        "plain": plain,
        "batch": scene(5, batch=3, count=50),
        "shared": _shared(scene(6, batch=3, count=50)),
        "behind the camera": _with(spread, means=_world(spread, view)),
        "off screen": _with(scene(7), means=lambda m: m + torch.tensor([0.4, 0.1, 0.0])),
        "all off screen": _with(scene(7), means=lambda m: m + torch.tensor([40.0, 0.1, 0.0])),
        "huge and tiny": _with(scene(3), scales=two_sizes),
        "enormous": _with(
            scene(3, count=12), scales=lambda s: s * 300, opacities=lambda o: o * 0.5
        ),
        "tiny": _with(scene(8), scales=lambda s: s * 1e-4),
        "needles": _with(scene(10), scales=_needles),
        "flakes": _with(scene(11), scales=lambda s: s * torch.tensor([8.0, 8.0, 1e-4])),
        "coincident": pair,
        "opaque": _with(scene(12, count=120), opacities=lambda o: 1 - 1e-3 * o),
        "many layers": _with(scene(13, count=300), scales=lambda s: s * 4),
        "faint": _with(scene(14), opacities=lambda o: o * 0.01),
        "empty": scene(15, batch=2, count=0),
        "one Gaussian": scene(16, count=1),
        "one pixel": _with(scene(20, count=9, width=1, height=1), scales=lambda s: s * 0.3),
        "one row": scene(18, width=50, height=1),
        "whole tiles": scene(19, width=32, height=48),
    }
