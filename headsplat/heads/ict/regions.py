"""Named regions of the ICT head, in ICT's vertex numbers."""

import numpy as np

from headsplat.heads.ict import parts
from headsplat.heads.ict.joints import neck_height
from headsplat.heads.ict.mesh import Graph, rim

# FLAME ends at the base of the neck. ICT's shoulders are cut off, because clothes cover them.
TRUNK_CENTER, TRUNK_RADII, TRUNK_TOP, TRUNK_BOTTOM = -0.058, (0.097, 0.096), -0.12, -0.19


def inside_bust(vertices: np.ndarray) -> np.ndarray:
    """(V,) bool: not part of the shoulders and chest that are cut off."""
    x, y, z = vertices.T
    ellipse = (x / TRUNK_RADII[0]) ** 2 + ((z - TRUNK_CENTER) / TRUNK_RADII[1]) ** 2
    return (y > TRUNK_TOP) | ((ellipse < 1) & (y > TRUNK_BOTTOM))


def build_regions(
    vertices: np.ndarray, faces: np.ndarray, landmarks: np.ndarray
) -> dict[str, np.ndarray]:
    """(V,) bool masks by name.

    Args:
        vertices: (V, 3) neutral in meters.
        faces: (F, 3) triangles that are kept.
        landmarks: (68,) vertices in Multi-PIE order.
    """
    count = len(vertices)
    used = np.zeros(count, dtype=bool)
    used[faces] = True
    masks = {name: _of_part(name, count) & used for name in parts.PARTS}
    skin = masks["face"] | masks["head"]
    graph = Graph(faces[skin[faces].all(1)], vertices)
    neck = skin & (neck_height(vertices) < 0)
    ears = {side: _ear(vertices, skin, graph, sign) for side, sign in (("left", 1), ("right", -1))}
    ear = ears["left"] | ears["right"]
    narrow = np.zeros(count, dtype=bool)
    narrow[parts.NARROW_FACE] = True
    face = narrow & skin & ~neck
    lips = graph.fill(np.array(parts.LIP_RIM), graph.loop(landmarks[48:60]))
    eyes = {
        "left": _around_eye(vertices, parts.LEFT_LID_RIM, masks["left_socket"], face),
        "right": _around_eye(vertices, parts.RIGHT_LID_RIM, masks["right_socket"], face),
    }
    brows = _brows(vertices, landmarks, face)
    x, y, z = vertices.T
    top_of_brows = vertices[landmarks[17:27], 1].max() + 0.004
    boundary = np.zeros(count, dtype=bool)
    border = rim(faces[skin[faces].all(1)])
    boundary[border[y[border] < TRUNK_TOP + 0.01]] = True
    mouth = masks["mouth_socket"] | masks["gums"]
    mouth[parts.LIP_RIM] = True
    return {
        "boundary": graph.grow(boundary, 1) & skin,
        "face": face,
        "lips": lips & skin,
        "eye_region": eyes["left"] | eyes["right"],
        "left_eye_region": eyes["left"],
        "right_eye_region": eyes["right"],
        "left_eyeball": masks["left_eyeball"],
        "right_eyeball": masks["right_eyeball"],
        "neck": neck,
        "scalp": skin & ~neck & ~ear & ~narrow & _above_hair_line(vertices),
        "left_ear": ears["left"],
        "right_ear": ears["right"],
        "brows": brows,
        "nose": face & _nose(vertices, landmarks),
        "forehead": face & (y > top_of_brows),
        "teeth": masks["teeth"],
        "mouth_interior": mouth & used,
    }


def _of_part(name: str, count: int) -> np.ndarray:
    mask = np.zeros(count, dtype=bool)
    mask[parts.PARTS[name].vertices] = True
    return mask


def _ear(vertices: np.ndarray, skin: np.ndarray, graph: Graph, sign: int) -> np.ndarray:
    """The auricle: vertices that protrude from the skull, within an ellipse in side view."""
    x = vertices[:, 0] * sign
    side = vertices[:, 1:]
    box = (side > (-0.05, -0.09)).all(1) & (side < (0.035, -0.01)).all(1) & skin
    lower, upper = (np.quantile(side[box & (x > 0.080)], q, axis=0) for q in (0.0, 1.0))
    offset = (side - 0.5 * (lower + upper)) / (0.5 * (upper - lower) + 0.004)
    inside = box & (x > 0.064) & ((offset**2).sum(1) < 1)
    tip = np.flatnonzero(inside)[x[inside].argmax()]
    return graph.fill(np.array([tip]), np.flatnonzero(~inside)) & inside


def _around_eye(
    vertices: np.ndarray, lid_rim: range, socket: np.ndarray, face: np.ndarray
) -> np.ndarray:
    center = vertices[lid_rim].mean(0)
    offset = (vertices - center)[:, :2] / (0.029, 0.021)
    return (face & ((offset**2).sum(1) < 1)) | socket


def _brows(vertices: np.ndarray, landmarks: np.ndarray, face: np.ndarray) -> np.ndarray:
    """Within 4 mm of the curves through the brow landmarks, seen from the front."""
    out = np.zeros(len(vertices), dtype=bool)
    for brow in (landmarks[17:22], landmarks[22:27]):
        out |= polyline_distance(vertices[:, :2], vertices[brow, :2]) < 0.004
    return out & face & (vertices[:, 2] > 0)


def polyline_distance(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """(n, d), (m, d) -> (n,) distance to the open polygon through `line`."""
    best = np.full(len(points), np.inf)
    for start, stop in zip(line[:-1], line[1:], strict=True):
        along = stop - start
        t = ((points - start) @ along / (along @ along)).clip(0, 1)
        best = np.minimum(best, np.linalg.norm(points - start - t[:, None] * along, axis=1))
    return best


def _nose(vertices: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    bridge, base = vertices[landmarks[27]], vertices[landmarks[33]]
    half = np.interp(vertices[:, 1], (base[1], bridge[1]), (0.021, 0.010))
    y = vertices[:, 1]
    return (np.abs(vertices[:, 0]) < half) & (y > base[1] + 0.001) & (y < bridge[1] + 0.004)


def _above_hair_line(vertices: np.ndarray) -> np.ndarray:
    """Above a line that falls from the temples past the ears to the nape."""
    return vertices[:, 1] > np.interp(vertices[:, 2], (-0.12, -0.06, -0.02), (-0.055, -0.02, 0.012))
