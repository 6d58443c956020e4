"""The head of one subject as arrays for a browser: only the vertices that its Gaussians follow.

The same reductions as `headsplat.heads.skinning.SubjectGeometry`: the identity is part of the rest
positions, and joints are further rows of the product with the expression.
"""

import numpy as np

from headsplat.gaussians.anchors import Anchors
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import STILL, TURNING

NECK = 1
_STEPS = 32767  # of a 16-bit number


def head_arrays(head: HeadModel, shape: np.ndarray, anchors: Anchors) -> dict[str, np.ndarray]:
    """Arrays `head/...` and `anchors/...`.

    Args:
        head: the head model.
        shape: (S,) identity of the subject.
        anchors: N points on the head's triangles; they use n vertices.

    Returns:
        head/rest (n + 3, 3) neutral vertices, then joints of jaw, left and right eye, meters;
        head/expressions (E, n + 3, 3) 16-bit and head/expression_scale (E,) meters of one step;
        head/lids (2, n, 3) and head/lid_scale (2,) likewise; head/skinning (n, 3) weights of the
        three joints; head/root (n,) the trunk's share; head/correctives (27, n, 3) and
        head/corrective_scale (27,), if the head has pose correctives;
        anchors/corners (N, 3) rows of head/rest; anchors/places (N, 3) weights of the second and
        the third corner, and meters along the normal, 16-bit; anchors/place_scale (3,).
    """
    corners, local = np.unique(head.faces[anchors.face], return_inverse=True)
    regressor = head.joint_regressor.astype(np.float64)[STILL:]
    basis = head.expression_basis.astype(np.float64)
    neutral = head.template + head.shape_basis.astype(np.float64) @ shape
    joined = np.concatenate([basis[corners], np.einsum("jv,vce->jce", regressor, basis)])
    expressions, expression_scale = in_steps(np.moveaxis(joined, 2, 0))
    lids, lid_scale = in_steps(np.moveaxis(head.eyelid_basis[corners], 2, 0))
    places, place_scale = in_steps(
        np.concatenate([anchors.barycentric.T[1:], anchors.height[None]])
    )
    arrays = {
        "head/rest": np.concatenate([neutral[corners], regressor @ neutral]).astype(np.float32),
        "head/expressions": expressions,
        "head/expression_scale": expression_scale,
        "head/lids": lids,
        "head/lid_scale": lid_scale,
        "head/skinning": head.skinning[corners, STILL:].astype(np.float32),
        "head/root": head.skinning[corners, 0].astype(np.float32),
        "anchors/corners": local.reshape(-1, 3).astype(np.uint16 if len(corners) < 65536 else "u4"),
        "anchors/places": places.T,
        "anchors/place_scale": place_scale,
    }
    if head.pose_basis is not None:
        turning = head.pose_basis[corners][..., 9 * (STILL - 1) :]
        steps, scale = in_steps(np.moveaxis(turning, 2, 0))
        arrays |= {"head/correctives": steps, "head/corrective_scale": scale}
    assert arrays["head/skinning"].shape[1] == TURNING
    return arrays


def neck_joint(head: HeadModel, shape: np.ndarray) -> np.ndarray:
    """(3,) the neck joint of the subject's neutral head, meters."""
    neutral = head.template + head.shape_basis.astype(np.float64) @ shape
    return head.joint_regressor[NECK].astype(np.float64) @ neutral


def in_steps(rows: np.ndarray, most: int = _STEPS) -> tuple[np.ndarray, np.ndarray]:
    """(K, ...) -> int16 of the same shape up to `most`, and (K,) float32, the value of one step."""
    largest = np.abs(rows).reshape(len(rows), -1).max(1, initial=0)
    scale = (largest / most).astype(np.float32)
    each = np.where(scale > 0, scale, 1).astype(np.float64).reshape(-1, *[1] * (rows.ndim - 1))
    return np.rint(rows / each).clip(-most, most).astype(np.int16), scale
