"""glTF files with Gaussians: the extension KHR_gaussian_splatting, as ratified.

Primitives of points; scales are linear and opacities in 0..1. The color of viewers that do not know
the extension is in `COLOR_0`.
"""

from pathlib import Path

import numpy as np

from headsplat.formats.glb import POINTS, Glb
from headsplat.formats.splats import Splats, require_near
from headsplat.gaussians.sh import C0

EXTENSION = "KHR_gaussian_splatting"


def write_gaussian_glb(path: Path, splats: Splats, name: str, copyright: str = "") -> None:
    """Publish one frame's Gaussians.

    Args:
        path: the file.
        splats: of one frame, meters, y up, the face looks to +z.
        name: of the object in the file.
        copyright: as `Glb` takes it.

    Raises:
        UserError: as `require_near`.
    """
    require_near(path, splats)
    glb = Glb(copyright)
    glb.use(EXTENSION)
    harmonics = splats.harmonics.numpy()
    attributes = {
        "POSITION": glb.vertices(splats.means.numpy(), bounds=True),
        "COLOR_0": glb.vertices(_fallback(splats), normalized=True),
        f"{EXTENSION}:ROTATION": glb.vertices(splats.quats[:, [1, 2, 3, 0]].numpy()),
        f"{EXTENSION}:SCALE": glb.vertices(splats.scales.numpy()),
        f"{EXTENSION}:OPACITY": glb.vertices(splats.opacities.numpy()),
    }
    for degree in range(splats.degree + 1):
        for k in range(2 * degree + 1):
            values = np.ascontiguousarray(harmonics[:, degree * degree + k])
            attributes[f"{EXTENSION}:SH_DEGREE_{degree}_COEF_{k}"] = glb.vertices(values)
    primitive = {
        "attributes": attributes,
        "mode": POINTS,
        "extensions": {EXTENSION: {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}},
    }
    mesh = glb.add("meshes", {"name": name, "primitives": [primitive]})
    node = glb.add("nodes", {"name": name, "mesh": mesh})
    glb.json["scene"] = glb.add("scenes", {"nodes": [node]})
    glb.write(path)


def _fallback(splats: Splats) -> np.ndarray:
    """(N, 4) uint8: color of degree 0, and opacity."""
    color = splats.harmonics[:, 0].numpy() * C0 + 0.5
    whole = np.concatenate([color, splats.opacities.numpy()[:, None]], 1)
    return np.rint(whole * 255).clip(0, 255).astype(np.uint8)
