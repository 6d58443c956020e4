"""One UV atlas out of ICT's several unit tiles, in which no part lies on another."""

import numpy as np

from headsplat.heads.ict import parts

# ICT's tiles: the skin of the face; the back of the head with mouth and eye sockets in its corners;
# gums and tongue; teeth; and one tile per eyeball, which lies on that of the face.
# name -> (parts, tile's left edge in ICT's u, left, bottom and side of its square in the atlas)
TILES: dict[str, tuple[tuple[str, ...], float, tuple[float, float, float]]] = {
    "face": (("face",), 0.0, (0.0, 0.38, 0.62)),
    "head": (("head", "mouth_socket", "left_socket", "right_socket"), 1.0, (0.62, 0.62, 0.38)),
    "gums": (("gums",), 2.0, (0.62, 0.38, 0.24)),
    "teeth": (("teeth",), 3.0, (0.64, 0.0, 0.36)),
    "left_eyeball": (("left_eyeball",), 0.0, (0.0, 0.06, 0.32)),
    "right_eyeball": (("right_eyeball",), 0.0, (0.32, 0.06, 0.32)),
}
MARGIN = 0.004


def build_atlas(
    texture: np.ndarray, texture_faces: np.ndarray, polygon: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Move every tile to its own square.

    Args:
        texture: (T, 2) ICT's coordinates.
        texture_faces: (F, 3) rows of `texture`.
        polygon: (F,) ICT's polygon that each triangle belongs to.

    Returns:
        (U, 2) f32 coordinates in [0, 1] and (F, 3) i32 rows of them.
    """
    moved, faces, count = [], np.empty_like(texture_faces), 0
    for names, origin, (left, bottom, side) in TILES.values():
        mine = np.zeros(len(polygon), dtype=bool)
        for name in names:
            span = parts.PARTS[name].polygons
            mine |= (polygon >= span.start) & (polygon < span.stop)
        # A coordinate that two tiles share is copied, because each places it elsewhere.
        used, rows = np.unique(texture_faces[mine], return_inverse=True)
        inner = side - 2 * MARGIN
        local = (texture[used] - (origin, 0.0)) * inner + (left + MARGIN, bottom + MARGIN)
        moved.append(local)
        faces[mine] = rows.reshape(-1, 3) + count
        count += len(used)
    return np.concatenate(moved).astype(np.float32), faces
