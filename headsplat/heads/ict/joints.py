"""Joints and skinning of the ICT head, derived from its shapes.

ICT-FaceKit has no joints. Its `jawOpen` rotates the lower teeth as one rigid body, which gives the
jaw's pivot and angle. The jaw weight of every other vertex is its share of that rotation. The
residual (cheek folds, shape of the open lips) becomes a pose corrective that grows with the sine of
the jaw angle. Turning the jaw joint by `angle` thus reproduces `jawOpen` exactly, and the
expression column `jawOpen` is zero.
"""

from dataclasses import dataclass

import numpy as np

from headsplat.heads.ict import parts
from headsplat.heads.ict.mesh import Graph

# Root and neck in FLAME's frame, on the axis of the cervical spine, meters.
ROOT = (0.0, -0.150, -0.055)
NECK = (0.0, -0.075, -0.045)
# The neck is below the oblique plane y + 0.46 z + 0.105 = 0, and the trunk 7 cm below it.
NECK_SLOPE, NECK_LEVEL, NECK_LENGTH = 0.46, 0.105, 0.07
# Vertices closer to the jaw axis hardly move, so their weight is not measurable.
AXIS_RADIUS = 0.004
# Joints are regressed from static vertices within this height above and below.
SUPPORT_HEIGHT = 0.04


@dataclass(frozen=True)
class Rig:
    """Joints, skinning weights and correctives of the head.

    Attributes:
        joints: (5, 3) root, neck, jaw, left eye, right eye at rest.
        regressor: (5, V).
        skinning: (V, 5), rows sum to 1.
        correctives: (V, 3, 36) added before skinning per entry of the joints' R - I.
        jaw_angle: radians about +x at which `jawOpen` = 1 is reproduced.
        jaw_blend: (V, 3, 3) blended skinning matrix of each vertex at that angle.
    """

    joints: np.ndarray
    regressor: np.ndarray
    skinning: np.ndarray
    correctives: np.ndarray
    jaw_angle: float
    jaw_blend: np.ndarray

    def before_jaw(self, shape: np.ndarray) -> np.ndarray:
        """Pull a (V, 3) displacement of the opened jaw back through skinning."""
        return np.linalg.solve(self.jaw_blend, shape[..., None])[..., 0]


def build_rig(
    vertices: np.ndarray, faces: np.ndarray, jaw_open: np.ndarray, inert: np.ndarray
) -> Rig:
    """Derive joints, weights and jaw correctives.

    Args:
        vertices: (V, 3) neutral in meters, all of ICT's vertices.
        faces: (F, 3) triangles of the imported parts.
        jaw_open: (V, 3) displacement of `jawOpen`.
        inert: (V,) bool, vertices that no expression moves; joints are regressed from them.
    """
    pivot, angle = _jaw_motion(vertices, jaw_open)
    graph = Graph(faces, vertices)
    jaw = _jaw_weights(vertices, jaw_open, pivot, angle, graph)
    trunk = _smoothstep(-neck_height(vertices) / NECK_LENGTH)
    left, right = (np.array(parts.PARTS[f"{s}_eyeball"].vertices) for s in ("left", "right"))
    skinning = np.zeros((len(vertices), 5))
    skinning[:, 0] = trunk * (1 - jaw)
    skinning[:, 2] = jaw
    skinning[left, 3] = skinning[right, 4] = 1
    skinning[:, 1] = 1 - skinning.sum(1)
    joints = np.array(
        [ROOT, NECK, pivot, _ball_center(vertices[left]), _ball_center(vertices[right])]
    )
    used = np.zeros(len(vertices), dtype=bool)
    used[faces] = True
    balls = [ids[used[ids]] for ids in (left, right)]
    supports = [*_still_supports(vertices, joints[:3], used & inert), *balls]
    regressor = np.zeros((5, len(vertices)))
    for row, (joint, support) in enumerate(zip(joints, supports, strict=True)):
        regressor[row, support] = _affine_weights(vertices[support], joint)
    blend = np.eye(3) + jaw[:, None, None] * (_rotation(angle) - np.eye(3))
    correctives = _correctives(vertices, jaw_open, jaw, blend, pivot, angle)
    return Rig(joints, regressor, skinning, correctives, angle, blend)


def neck_height(vertices: np.ndarray) -> np.ndarray:
    """(V,) meters above the oblique plane between head and neck; negative on the neck."""
    return vertices[:, 1] + NECK_SLOPE * vertices[:, 2] + NECK_LEVEL


def _rotation(angle: float) -> np.ndarray:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])


def _jaw_motion(vertices: np.ndarray, jaw_open: np.ndarray) -> tuple[np.ndarray, float]:
    """Pivot (3,) and angle of the lower teeth's rigid motion, which turns about the x axis."""
    teeth = np.array(parts.LOWER_TEETH)
    before, after = vertices[teeth][:, 1:], (vertices + jaw_open)[teeth][:, 1:]
    a, b = before - before.mean(0), after - after.mean(0)
    # Procrustes in the plane y z.
    angle = np.arctan2((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum(), (a * b).sum())
    turn = _rotation(angle)[1:, 1:]
    shift = after.mean(0) - turn @ before.mean(0)
    pivot = np.linalg.solve(np.eye(2) - turn, shift)
    return np.array([0.0, *pivot]), float(angle)


def _jaw_weights(
    vertices: np.ndarray, jaw_open: np.ndarray, pivot: np.ndarray, angle: float, graph: Graph
) -> np.ndarray:
    """(V,) the share of the jaw's rotation that each vertex follows in `jawOpen`."""
    rigid = (vertices - pivot) @ _rotation(angle).T + pivot - vertices
    reach = 2 * np.sin(angle / 2) * AXIS_RADIUS
    share = (jaw_open * rigid).sum(1) / ((rigid**2).sum(1) + reach**2)
    weights = share.clip(0, 1)
    teeth = np.zeros(len(vertices), dtype=bool)
    teeth[parts.PARTS["teeth"].vertices] = True
    lower = np.zeros_like(teeth)
    lower[parts.LOWER_TEETH] = True
    balls = np.zeros_like(teeth)
    for name in ("left_eyeball", "right_eyeball"):
        balls[parts.PARTS[name].vertices] = True
    weights = graph.smooth(weights, 3, teeth | balls)
    return np.where(lower, 1.0, np.where(teeth | balls, 0.0, weights))


def _correctives(
    vertices: np.ndarray,
    jaw_open: np.ndarray,
    jaw: np.ndarray,
    blend: np.ndarray,
    pivot: np.ndarray,
    angle: float,
) -> np.ndarray:
    """(V, 3, 36): residual of `jawOpen` after skinning, pulled back through the blended matrix."""
    target = vertices + jaw_open - jaw[:, None] * (pivot - _rotation(angle) @ pivot)
    missing = np.linalg.solve(blend, target[..., None])[..., 0] - vertices
    missing[np.linalg.norm(missing, axis=1) < 1e-6] = 0
    out = np.zeros((len(vertices), 3, 36), dtype=np.float32)
    # Entries of the jaw's R - I, row major: (2, 1) is +sin, (1, 2) is -sin for a turn about x.
    out[:, :, 9 + 7] = missing / (2 * np.sin(angle))
    out[:, :, 9 + 5] = -out[:, :, 9 + 7]
    return out


def _ball_center(points: np.ndarray) -> np.ndarray:
    """Center of the sphere through the back 60 % of an eyeball, without the cornea."""
    back = points[points[:, 2] < np.quantile(points[:, 2], 0.6)]
    system = np.concatenate([2 * back, np.ones((len(back), 1))], 1)
    return np.linalg.lstsq(system, (back**2).sum(1), rcond=None)[0][:3]


def _still_supports(vertices: np.ndarray, joints: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """Static vertices (skin, upper teeth) near the height of root, neck and jaw."""
    heights = vertices[:, 1]
    return [np.flatnonzero(mask & (np.abs(heights - y) < SUPPORT_HEIGHT)) for y in joints[:, 1]]


def _affine_weights(points: np.ndarray, joint: np.ndarray) -> np.ndarray:
    """(n,) minimum-norm weights that sum to 1 and reproduce the joint exactly."""
    system = np.concatenate([(points - joint).T, np.ones((1, len(points)))])
    return np.linalg.lstsq(system, np.array([0, 0, 0, 1.0]), rcond=None)[0]


def _smoothstep(t: np.ndarray) -> np.ndarray:
    t = t.clip(0, 1)
    return t * t * (3 - 2 * t)
