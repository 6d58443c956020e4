"""Per-vertex masks, sides and skinning weights of the procedural head."""

from dataclasses import dataclass

import numpy as np

from headsplat.synthetic.head.grid import (
    CAVITY,
    LEFT_EAR,
    LEFT_EYE,
    LOWER_TEETH,
    RIGHT_EAR,
    RIGHT_EYE,
    SKIN,
    TONGUE,
    UPPER_TEETH,
    Assembly,
)
from headsplat.synthetic.head.loops import closed_lid_shift
from headsplat.synthetic.head.surface import EYE, SEAM_Y, smoothstep

Array = np.ndarray

JOINTS = np.array(
    [(0, -150, -40), (0, -88, -34), (0, 10, 3), EYE, EYE * (-1, 1, 1)], dtype=np.float64
)  # root, neck, jaw, left eye, right eye; millimeters


@dataclass(frozen=True)
class Anatomy:
    """Per-vertex data in millimeters, arrays of V rows unless said otherwise.

    Attributes:
        points: (V, 3) places.
        part: which part, numbers of `grid`.
        eye_ring: 0 at the outer loop, 1 at the lid margin.
        eye_upper: +1 upper .. -1 lower lid.
        mouth_ring: 1 at the border of the lips, 2 where they meet.
        mouth_upper: +1 upper .. -1 lower lip.
        surface: 1 on the skin, fading to 0 behind the lips; parts inside have 0.
        lower: 1 on the lower lip and below, 0 on the upper lip and above.
        jaw: share of the lower jaw's motion.
    """

    points: Array
    part: Array
    eye_ring: Array
    eye_upper: Array
    mouth_ring: Array
    mouth_upper: Array
    surface: Array
    lower: Array
    jaw: Array

    @property
    def lid(self) -> Array:
        """1 on the lids, 0 on the skin round them."""
        return smoothstep(self.eye_ring, 0.35, 0.75)


def describe(assembly: Assembly) -> Anatomy:
    """Derive the per-vertex data of a finished assembly."""
    points, part = assembly.positions(), np.concatenate(assembly.part)
    eye_ring, eye_upper, mouth_ring, mouth_upper = (
        np.concatenate(rows)
        for rows in (
            assembly.eye_ring, assembly.eye_upper, assembly.mouth_ring, assembly.mouth_upper,
        )
    )  # fmt: skip
    near = smoothstep(mouth_ring, 0, 1)
    lower = (1 - near) * smoothstep(points[:, 1], SEAM_Y + 8, SEAM_Y - 8)
    lower += near * (0.5 - 0.5 * mouth_upper)
    skin = (part == SKIN) | np.isin(part, (LEFT_EAR, RIGHT_EAR))
    surface = skin * smoothstep(mouth_ring, 2.6, 1.9)
    return Anatomy(
        points, part, eye_ring, eye_upper, mouth_ring, mouth_upper, surface, lower,
        _jaw_share(points, part, near, mouth_upper),
    )  # fmt: skip


def _jaw_share(points: Array, part: Array, near_mouth: Array, mouth_upper: Array) -> Array:
    """Jaw weights by the angle about the hinge, between lip plane and throat."""
    arm = points - JOINTS[2]
    angle = np.rad2deg(np.arctan2(arm[:, 1], arm[:, 2]))
    share = smoothstep(angle, -25, -47) * smoothstep(angle, -122, -88)
    share *= smoothstep(points[:, 1], -118, -92)
    share += near_mouth * (0.5 - 0.5 * mouth_upper - share)
    share[np.isin(part, (LOWER_TEETH, TONGUE))] = 1
    others = (UPPER_TEETH, LEFT_EYE, RIGHT_EYE, LEFT_EAR, RIGHT_EAR)
    share[np.isin(part, others)] = 0
    return share


def skinning(anatomy: Anatomy) -> Array:
    """(V, 5) weights of root, neck, jaw, left eye, right eye; rows sum to 1."""
    head = smoothstep(anatomy.points[:, 1], -150, -88)
    weights = np.zeros((len(head), 5))
    weights[:, 0] = 1 - head
    weights[:, 2] = anatomy.jaw * head
    weights[:, 1] = head - weights[:, 2]
    for joint, eye in ((3, LEFT_EYE), (4, RIGHT_EYE)):
        weights[anatomy.part == eye] = np.eye(5)[joint]
    return weights


def eyelids(anatomy: Anatomy) -> Array:
    """(V, 3, 2) millimeters from open to closed: left lid, right lid."""
    out = np.zeros((len(anatomy.points), 3, 2))
    for column, side in enumerate((1, -1)):
        rows = np.flatnonzero((anatomy.eye_ring > 0) & (anatomy.points[:, 0] * side > 0))
        mirrored = anatomy.points[rows] * (side, 1, 1)
        shift = closed_lid_shift(anatomy.eye_ring[rows], anatomy.eye_upper[rows], mirrored)
        out[rows, :, column] = shift * (side, 1, 1)
    return out


def joint_regressor(anatomy: Anatomy) -> Array:
    """(5, V): each joint as a weighted mean of vertices that share its identity changes."""
    points, part = anatomy.points, anatomy.part
    groups = [
        (part == SKIN) & (points[:, 1] < -120),
        (part == SKIN) & (np.abs(points[:, 1] + 95) < 25) & (points[:, 2] < 40),
        (part == SKIN) & (np.abs(points[:, 1] - 10) < 16) & (np.abs(points[:, 2] - 3) < 26)
        & (np.abs(points[:, 0]) > 45),
        part == LEFT_EYE,
        part == RIGHT_EYE,
    ]  # fmt: skip
    out = np.zeros((len(groups), len(points)))
    for joint, group in enumerate(groups):
        rows = np.flatnonzero(group)
        # Smallest change of uniform weights that reproduces the joint exactly.
        system = np.concatenate([points[rows].T / 100, np.ones((1, len(rows)))])
        target = np.append(JOINTS[joint] / 100, 1.0)
        even = np.full(len(rows), 1 / len(rows))
        fix = np.linalg.lstsq(system, target - system @ even, rcond=None)[0]
        out[joint, rows] = even + fix
    return out


def inner_parts(anatomy: Anatomy) -> dict[str, Array]:
    """Vertex ids of teeth, tongue and cavity."""
    part = anatomy.part
    return {
        "upper_teeth": np.flatnonzero(part == UPPER_TEETH),
        "lower_teeth": np.flatnonzero(part == LOWER_TEETH),
        "tongue": np.flatnonzero(part == TONGUE),
        "mouth_interior": np.flatnonzero((part == CAVITY) | (anatomy.mouth_ring > 2.2)),
    }
