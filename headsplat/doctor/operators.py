"""Check the compiled operators: render one Gaussian on each device and compare a pixel."""

import os
from collections.abc import Iterator

import torch

from headsplat.doctor.finding import Finding, fails, ok, warning
from headsplat.gaussians.raster import extension, library
from headsplat.gaussians.raster.gaussians import rasterize_gaussians
from headsplat.runtime.errors import UserError

_OPACITY, _COLOR = 0.75, (0.2, 0.4, 0.8)
_SIZE = 16


def check_operators() -> Iterator[Finding]:
    """Render with the library that would be loaded; if it is not built, check the target folder."""
    try:
        if not extension.is_built():
            yield _not_built()
            return
        facts = extension.load()
    except UserError as error:
        yield fails("operators", str(error), "after that, ask again")
        return
    yield _draws("cpu")
    if facts["cuda"]:
        yield _draws("cuda")
    elif torch.cuda.is_available():
        yield warning("operators on the GPU", facts["no_cuda"], "until then the CPU computes")


def _not_built() -> Finding:
    folder = library.folder().absolute()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        says = f"not compiled yet, and {folder} cannot be written"
        return fails("operators", says, "set HEADSPLAT_EXT_DIR to a folder that can")
    return ok("operators", f"not compiled yet; first use does, in a minute or two, into {folder}")


def _draws(device: str) -> Finding:
    what = f"operators on the {'GPU' if device == 'cuda' else 'CPU'}"
    try:
        center, corner = draw_one(device)
    except (RuntimeError, UserError) as error:
        return fails(what, str(error).splitlines()[0], f"remove {library.folder()} and run again")
    expected = _OPACITY * torch.tensor(_COLOR)
    off = max((center - expected).abs().max().item(), corner.abs().max().item())
    if not off < 1e-3:
        says = f"a Gaussian's pixel is {center.tolist()}, not {expected.tolist()}"
        return fails(what, says, f"remove {library.folder()} and run again")
    return ok(what, "one Gaussian drawn, its pixel is right")


def draw_one(device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels (3,) at the middle and at a far corner of one small Gaussian on black."""
    place = {"device": device, "dtype": torch.float32}
    middle = _SIZE / 2 + 0.5  # the center of a pixel
    color, _ = rasterize_gaussians(
        torch.tensor([[[0.0, 0, 1]]], **place),
        torch.tensor([[[1.0, 0, 0, 0]]], **place),
        torch.full((1, 1, 3), 0.02, **place),
        torch.full((1, 1), _OPACITY, **place),
        torch.tensor([[_COLOR]], **place),
        torch.eye(3, **place)[None],
        torch.zeros(1, 3, **place),
        torch.tensor([[50.0, 50, middle, middle]], **place),
        _SIZE,
        _SIZE,
        torch.zeros(1, 3, **place),
    )
    return color[0, _SIZE // 2, _SIZE // 2].cpu(), color[0, 0, 0].cpu()
