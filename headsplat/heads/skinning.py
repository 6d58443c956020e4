"""Posed vertices of a head model: linear blendshapes and FLAME's linear blend skinning.

Torch only; every function is differentiable and batched over frames.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from headsplat.heads.model import HeadModel
from headsplat.runtime.checks import check_shape

# Joints that rotate in the head's frame: jaw and eyes; root and neck are fixed.
STILL, TURNING = 2, 3


@dataclass(frozen=True)
class _Rows:
    """The per-vertex arrays, for all vertices or for some."""

    template: Tensor
    shape_basis: Tensor
    expression_basis: Tensor
    skinning: Tensor
    eyelid_basis: Tensor
    pose_basis: Tensor | None

    def pick(self, ids: Tensor) -> "_Rows":
        pose = None if self.pose_basis is None else self.pose_basis[ids]
        return _Rows(
            self.template[ids], self.shape_basis[ids], self.expression_basis[ids],
            self.skinning[ids], self.eyelid_basis[ids], pose,
        )  # fmt: skip


class HeadGeometry:
    """Evaluates a `HeadModel` on a device.

    Args:
        model: the head.
        device: torch device of the arrays.
        dtype: float32 or float64.
    """

    def __init__(
        self,
        model: HeadModel,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        def tensor(array) -> Tensor:
            return torch.as_tensor(array, dtype=dtype, device=device)

        self.model = model
        self.device, self.dtype = torch.device(device), dtype
        self._rows = _Rows(
            tensor(model.template),
            tensor(model.shape_basis),
            tensor(model.expression_basis),
            tensor(model.skinning),
            tensor(model.eyelid_basis),
            None if model.pose_basis is None else tensor(model.pose_basis),
        )
        # Joints are linear in the coefficients, so that a subset of vertices never needs the rest.
        regressor = tensor(model.joint_regressor)
        self._joints = regressor @ self._rows.template
        self._joints_shape = torch.einsum("jv,vcs->jcs", regressor, self._rows.shape_basis)
        self._joints_expression = torch.einsum(
            "jv,vce->jce", regressor, self._rows.expression_basis
        )
        self.faces = torch.as_tensor(model.faces, dtype=torch.long, device=device)

    def shaped(self, shape: Tensor) -> Tensor:
        """Neutral heads: shape (S,) or (B, S) -> (V, 3) or (B, V, 3) meters."""
        return self._rows.template + _mix(self._rows.shape_basis, shape)

    def joints(self, shape: Tensor, exp: Tensor) -> Tensor:
        """Joint positions before any rotation: (S,) or (B, S) and (B, E) -> (B, 5, 3) meters."""
        return self._joints + _mix(self._joints_shape, shape) + _mix(self._joints_expression, exp)

    def vertices(
        self,
        shape: Tensor,
        exp: Tensor,
        jaw: Tensor,
        eyes: Tensor,
        eyelids: Tensor,
        neck: Tensor | None = None,
        vertex_ids: Tensor | None = None,
        trunk: Tensor | None = None,
    ) -> Tensor:
        """Posed vertices in the head frame (the root is fixed; the camera moves).

        Follows FLAME's linear blend skinning: shapes, joints from the shaped vertices, pose
        correctives of the four moving joints, then the joint chain; the lids are added last.

        Args:
            shape: (S,) or (B, S) coefficients.
            exp: (B, E) coefficients.
            jaw: (B, 3, 3) rotation about head axes; +x opens the mouth.
            eyes: (B, 2, 3, 3), left then right.
            eyelids: (B, 2), left then right, 0 open .. 1 closed.
            neck: (B, 3, 3), or None for no rotation; the lids turn with it.
            vertex_ids: (n,) long; only these rows are computed.
            trunk: (B, 3, 4) trunk to head (`Track.trunk`), which the root's share of each vertex
                follows; None where the trunk is stiff under the head. Not with `neck`.

        Returns:
            (B, V, 3) or (B, n, 3) meters.

        Raises:
            ValueError: a shape is wrong, or both `neck` and `trunk` are given.
        """
        if neck is not None and trunk is not None:
            raise ValueError("neck and trunk: expected at most one of the two")
        batch = check_shape(exp, "B E", "exp")["B"]
        check_shape(jaw, f"{batch} 3 3", "jaw")
        check_shape(eyes, f"{batch} 2 3 3", "eyes")
        check_shape(eyelids, f"{batch} 2", "eyelids")
        rows = self._rows if vertex_ids is None else self._rows.pick(vertex_ids)
        eye = torch.eye(3, dtype=self.dtype, device=self.device).expand(batch, 3, 3)
        turn = eye if neck is None else neck
        rotations = torch.cat([torch.stack([turn, jaw], 1), eyes], 1)

        points = rows.template + _mix(rows.shape_basis, shape) + _mix(rows.expression_basis, exp)
        if rows.pose_basis is not None:
            feature = (rotations - eye[:, None]).reshape(batch, -1)
            points = points + _mix(rows.pose_basis, feature)

        matrices, offsets = _chain(self.joints(shape, exp), turn, rotations)
        blend = torch.einsum("vj,bjrc->bvrc", rows.skinning, matrices)
        shift = torch.einsum("vj,bjr->bvr", rows.skinning, offsets)
        posed = torch.einsum("bvrc,bvc->bvr", blend, points) + shift
        posed = posed + _mix(rows.eyelid_basis, eyelids) @ turn.transpose(-1, -2)
        return posed if trunk is None else follow_trunk(posed, rows.skinning[:, 0], trunk)


class SubjectGeometry:
    """Fast evaluation of some vertices of one subject, in few large operations.

    Equal, up to rounding, to `HeadGeometry.vertices` for a fixed identity and a still neck.

    The identity is baked into the template. Joint positions are further rows of the product with
    the code. Skinning weights sum to one, so a vertex p moves by sum_j w_j (R_j - 1) (p - c_j). The
    sum is over jaw and eyes, one more product.

    Args:
        geometry: the head.
        shape: (S,) identity coefficients.
        vertex_ids: (n,) long, the evaluated rows.
    """

    def __init__(self, geometry: HeadGeometry, shape: Tensor, vertex_ids: Tensor) -> None:
        rows = geometry._rows.pick(vertex_ids)
        joints = geometry._joints + _mix(geometry._joints_shape, shape)
        points = rows.template + _mix(rows.shape_basis, shape)
        turning = slice(STILL, None)
        basis = torch.cat([rows.expression_basis, geometry._joints_expression[turning]])
        self._corrected = rows.pose_basis is not None
        if self._corrected:
            correctives = rows.pose_basis[..., 9 * (STILL - 1) :]
            correctives = torch.nn.functional.pad(correctives, (0, 0, 0, 0, 0, TURNING))
            basis = torch.cat([basis, correctives], -1)
        self._rest = torch.cat([points, joints[turning]]).flatten()
        self._basis = basis.flatten(0, 1).T.contiguous()
        self._weights = rows.skinning[:, turning, None].contiguous()
        self._root = rows.skinning[:, 0].contiguous()
        self._lids = rows.eyelid_basis.flatten(0, 1).T.contiguous()
        self._eye = torch.eye(3, dtype=geometry.dtype, device=geometry.device)
        self._expressions = rows.expression_basis.shape[2]

    def vertices(
        self, exp: Tensor, rotations: Tensor, eyelids: Tensor, trunk: Tensor | None = None
    ) -> Tensor:
        """Posed vertices in the head frame.

        Args:
            exp: (B, E) coefficients.
            rotations: (B, 3, 3, 3) of jaw, left eye, right eye.
            eyelids: (B, 2), left then right.
            trunk: (B, 3, 4) trunk to head, or None; as `HeadGeometry.vertices` takes it.

        Returns:
            (B, n, 3) meters.
        """
        batch = check_shape(exp, f"B {self._expressions}", "exp")["B"]
        check_shape(rotations, f"{batch} {TURNING} 3 3", "rotations")
        check_shape(eyelids, f"{batch} 2", "eyelids")
        turn = rotations - self._eye
        code = torch.cat([exp, turn.flatten(1)], 1) if self._corrected else exp
        linear = torch.addmm(self._rest, code, self._basis).unflatten(1, (-1, 3))
        points, joints = linear[:, :-TURNING], linear[:, -TURNING:]
        reach = (points[:, :, None] - joints[:, None]) * self._weights
        blinked = torch.addmm(points.flatten(1), eyelids, self._lids).view_as(points)
        posed = torch.baddbmm(blinked, reach.flatten(2), turn.transpose(-1, -2).flatten(1, 2))
        return posed if trunk is None else follow_trunk(posed, self._root, trunk)


def follow_trunk(points: Tensor, share: Tensor, trunk: Tensor) -> Tensor:
    """Points of head and neck, moved with the trunk by a share (linear blend skinning).

    Args:
        points: (B, n, 3) meters, in the head's frame, with the trunk at rest.
        share: (n,) in 0..1: 0 stays with the head, 1 follows the trunk.
        trunk: (B, 3, 4) trunk to head, rotation and translation in meters.

    Returns:
        (B, n, 3) meters.
    """
    moved = torch.baddbmm(trunk[:, None, :, 3], points, trunk[:, :, :3].transpose(-1, -2))
    return torch.lerp(points, moved, share[:, None])


def _mix(basis: Tensor, coefficients: Tensor) -> Tensor:
    """(V, 3, K) x (K,) or (B, K) -> (V, 3) or (B, V, 3)."""
    count = basis.shape[2]
    if coefficients.shape[-1] != count:
        shape = list(coefficients.shape)
        raise ValueError(f"coefficients: expected [..., {count}], got {shape}")
    mixed = coefficients @ basis.reshape(-1, count).T
    return mixed.reshape(*coefficients.shape[:-1], -1, 3)


def _chain(joints: Tensor, neck: Tensor, rotations: Tensor) -> tuple[Tensor, Tensor]:
    """World rotation and offset of each joint, as applied to unposed points.

    Args:
        joints: (B, 5, 3).
        neck: (B, 3, 3).
        rotations: (B, 4, 3, 3) of neck, jaw, left eye, right eye.

    Returns:
        (B, 5, 3, 3) and (B, 5, 3): point = rotation @ point + offset.
    """
    root = torch.eye(3, dtype=neck.dtype, device=neck.device).expand_as(neck)
    # Jaw and eyes are children of the neck, and each rotates about its own joint.
    below = neck[:, None] @ rotations[:, 1:]
    matrices = torch.cat([root[:, None], neck[:, None], below], 1)
    pivot = joints[:, 1:2]
    neck_offset = pivot - torch.einsum("brc,bjc->bjr", neck, pivot)
    centers = joints[:, 2:]
    carried = torch.einsum("brc,bjc->bjr", neck, centers) + neck_offset
    below_offset = carried - torch.einsum("bjrc,bjc->bjr", below, centers)
    offsets = torch.cat([torch.zeros_like(pivot), neck_offset, below_offset], 1)
    return matrices, offsets
