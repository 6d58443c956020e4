"""3D Gaussian Splatting's PLY files (Kerbl et al., 2023).

Properties, their order and their activations are those of the published code: logarithms of the
scales, logits of the opacities, a channel's coefficients in a row, quaternions (w, x, y, z).
"""

from pathlib import Path

import numpy as np
import torch

from headsplat.formats.splats import HARMONICS, Splats
from headsplat.runtime.files import publish

# Opacities that float32 rounds to 0 or 1 have no logit.
_OPACITY_FLOOR = 1e-6


def write_ply(path: Path, splats: Splats, degree: int = 3) -> None:
    """Publish one frame's Gaussians; `degree` as `ply_bytes` takes it."""
    with publish(path) as temporary:
        temporary.write_bytes(ply_bytes(splats, degree))


def ply_bytes(splats: Splats, degree: int = 3) -> bytes:
    """The content of a PLY file.

    Args:
        splats: of one frame.
        degree: of the harmonics in the file, 0 to 3; some importers want 3.
    """
    count, rest = len(splats), (degree + 1) ** 2 - 1
    if not 0 <= rest < HARMONICS:
        raise ValueError(f"degree: expected 0 to 3, got {degree}")
    columns = [
        splats.means,
        torch.zeros(count, 3),
        splats.harmonics[:, 0],
        splats.harmonics[:, 1 : 1 + rest].transpose(1, 2).reshape(count, -1),
        torch.logit(splats.opacities, _OPACITY_FLOOR)[:, None],
        splats.scales.log(),
        splats.quats,
    ]
    values = torch.cat(columns, 1).numpy().astype("<f4")
    header = ["ply", "format binary_little_endian 1.0", f"element vertex {count}"]
    header += [*(f"property float {name}" for name in properties(degree)), "end_header", ""]
    return "\n".join(header).encode("ascii") + np.ascontiguousarray(values).tobytes()


def properties(degree: int = 3) -> tuple[str, ...]:
    """Names of a vertex's numbers, in order."""
    return (
        "x", "y", "z", "nx", "ny", "nz",
        *(f"f_dc_{k}" for k in range(3)),
        *(f"f_rest_{k}" for k in range(3 * ((degree + 1) ** 2 - 1))),
        "opacity", *(f"scale_{k}" for k in range(3)), *(f"rot_{k}" for k in range(4)),
    )  # fmt: skip
