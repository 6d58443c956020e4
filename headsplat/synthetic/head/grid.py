"""Mesh under construction: vertices and quads of the head's parts."""

from dataclasses import dataclass, field

import numpy as np

Array = np.ndarray
SKIN, CAVITY, UPPER_TEETH, LOWER_TEETH, TONGUE, LEFT_EYE, RIGHT_EYE, LEFT_EAR, RIGHT_EAR = range(9)


@dataclass
class Assembly:
    """A growing mesh: every part appends its vertices, faces and attributes.

    `eye_ring` and `mouth_ring` are positions of vertices in the loops around eye and mouth. They
    are 0 at the outer loop, 1 at the lid margin or lip border, 2 where the lips meet. `eye_upper`
    and `mouth_upper` are +1 on the upper and -1 on the lower lid or lip, 0 at the corners.
    """

    points: list[Array] = field(default_factory=list)
    part: list[Array] = field(default_factory=list)
    eye_ring: list[Array] = field(default_factory=list)
    eye_upper: list[Array] = field(default_factory=list)
    mouth_ring: list[Array] = field(default_factory=list)
    mouth_upper: list[Array] = field(default_factory=list)
    faces: list[Array] = field(default_factory=list)
    uv: list[Array] = field(default_factory=list)
    uv_faces: list[Array] = field(default_factory=list)
    count: int = 0
    uv_count: int = 0

    def add(self, points: Array, part: int, eye=(0.0, 0.0), mouth=(0.0, 0.0)) -> Array:
        """Append (n, 3) points; `eye` and `mouth` are (ring, upper). Returns their ids."""
        n = len(points)
        self.points.append(np.asarray(points, dtype=np.float64))
        self.part.append(np.full(n, part))
        pairs = ((self.eye_ring, self.eye_upper, eye), (self.mouth_ring, self.mouth_upper, mouth))
        for rings, uppers, (ring, upper) in pairs:
            rings.append(np.broadcast_to(np.asarray(ring, dtype=np.float64), n))
            uppers.append(np.broadcast_to(np.asarray(upper, dtype=np.float64), n))
        self.count += n
        return np.arange(self.count - n, self.count)

    def add_uv(self, uv: Array) -> Array:
        """Append (n, 2) atlas points and return their ids."""
        self.uv.append(np.asarray(uv, dtype=np.float64))
        self.uv_count += len(uv)
        return np.arange(self.uv_count - len(uv), self.uv_count)

    def add_triangles(self, corners: Array, uv_corners: Array) -> None:
        """Append (m, 3) triangles, counter-clockwise from outside."""
        self.faces.append(corners)
        self.uv_faces.append(uv_corners)

    def add_quads(self, corners: Array, uv_corners: Array, positions: Array) -> None:
        """Append (m, 4) quads, each split along its shorter diagonal in `positions` (V, 3)."""
        a, b, c, d = (positions[corners[:, k]] for k in range(4))
        ac = np.linalg.norm(a - c, axis=1) <= np.linalg.norm(b - d, axis=1) + 1e-6
        first = np.where(ac[:, None], (0, 1, 2), (0, 1, 3))
        second = np.where(ac[:, None], (0, 2, 3), (1, 2, 3))
        for split in (first, second):
            self.add_triangles(
                np.take_along_axis(corners, split, 1), np.take_along_axis(uv_corners, split, 1)
            )

    def positions(self) -> Array:
        """(V, 3) of what has been added so far."""
        return np.concatenate(self.points)


def loop_quads(outer: Array, inner: Array) -> Array:
    """Quads between two closed loops of equal length, `outer` round `inner`.

    They face the viewer where the loops run counter-clockwise.
    """
    return np.stack([outer, np.roll(outer, -1), np.roll(inner, -1), inner], 1)


def lattice_quads(ids: Array) -> Array:
    """(rows, columns) ids -> quads; counter-clockwise if columns run right and rows run up."""
    corners = (ids[:-1, :-1], ids[:-1, 1:], ids[1:, 1:], ids[1:, :-1])
    return np.stack([c.ravel() for c in corners], 1)
