"""Posed vertices from frame codes, 6D head pose, and camera center in the head's frame."""

from torch import Tensor

from headsplat.frame_code import FrameCode
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_6d, matrix_to_6d

POSE = 6


def posed_vertices(
    geometry: HeadGeometry,
    shape: Tensor,
    condition: Tensor,
    vertex_ids: Tensor | None = None,
    trunk: Tensor | None = None,
) -> Tensor:
    """Head vertices posed by frame codes.

    Args:
        geometry: of the head model.
        shape: (S,) identity coefficients.
        condition: (B, C) codes, the vectors of `FrameCode`.
        vertex_ids: (n,) long; only these rows are computed.
        trunk: (B, 3, 4) trunk to head, or None where it is stiff under the head.

    Returns:
        (B, V, 3) or (B, n, 3) meters, in the head's frame.
    """
    exp, jaw, eyes, eyelids = FrameCode(condition).unpack()
    rotations = matrix_from_6d(eyes.unflatten(1, (2, 6)))
    return geometry.vertices(
        shape, exp, matrix_from_6d(jaw), rotations, eyelids, vertex_ids=vertex_ids, trunk=trunk
    )


def head_pose_6d(rotation: Tensor) -> Tensor:
    """(B, 3, 3) head to OpenCV camera -> (B, 6) 6D rotation; frontal is the identity."""
    flip = rotation.new_tensor([1.0, -1.0, -1.0])
    return matrix_to_6d(flip[:, None] * rotation)


def camera_center(rotation: Tensor, translation: Tensor) -> Tensor:
    """(B, 3, 3), (B, 3) -> (B, 3): camera center in the head's frame, meters."""
    return -(rotation.transpose(1, 2) @ translation[..., None])[..., 0]
