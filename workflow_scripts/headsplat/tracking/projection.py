"""Landmarks of many frames in the picture, with their derivatives in closed form."""

from dataclasses import dataclass

import torch
from torch import Tensor

from headsplat.heads.landmarks import contour_bins
from headsplat.heads.model import CONTOUR_POINTS
from headsplat.rotations import matrix_from_axis_angle
from headsplat.tracking.basis import LandmarkBasis, Part
from headsplat.tracking.layout import Layout, State, eye_vectors


@dataclass(frozen=True)
class Projected:
    """Points in the picture.

    Attributes:
        pixels: (N, L, 2) from the principal point.
        jacobian: (N, L, 2, P + Q) or None.
        facing: (N, L) cosine between the surface's normal and the line of sight.
        by_offset: (N, L, 2, 3) derivative by the point's position on the resting head, or None.
    """

    pixels: Tensor
    jacobian: Tensor | None
    facing: Tensor
    by_offset: Tensor | None = None


class _Joints:
    """Rotations of jaw and eyes, and their derivatives by the axis-angle components."""

    def __init__(self, frame: Tensor, layout: Layout) -> None:
        jaw, eyes = frame[:, layout.jaw], eye_vectors(frame[:, layout.eyes])
        self.vectors = [jaw, eyes[:, 0], eyes[:, 1]]
        self.matrices = [matrix_from_axis_angle(v) for v in self.vectors]
        eye = torch.eye(3, dtype=frame.dtype, device=frame.device)
        self.feature = torch.cat([(m - eye).flatten(1) for m in self.matrices], 1)

    def derivative(self, joint: int) -> Tensor:
        """(N, 3, 3, 3): entry [:, k] is dR/dv_k."""
        return rotation_derivative(self.vectors[joint], self.matrices[joint])


def cross_matrix(vector: Tensor) -> Tensor:
    """The matrix of a cross product from the left: (..., 3) -> (..., 3, 3)."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    rows = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1)
    return rows.reshape(*vector.shape, 3)


def rotation_derivative(vector: Tensor, matrix: Tensor) -> Tensor:
    """Derivatives of Rodrigues' formula (Gallego and Yezzi 2015): (N, 3) -> (N, 3, 3, 3)."""
    eye = torch.eye(3, dtype=vector.dtype, device=vector.device)
    square = (vector * vector).sum(-1)[:, None, None, None]
    # Rows k of `moved` are v x ((I - R) e_k).
    moved = torch.linalg.cross(vector[:, None].expand(-1, 3, 3), (eye - matrix).mT)
    whole = vector[..., None, None] * cross_matrix(vector)[:, None] + cross_matrix(moved)
    small = square < 1e-10
    exact = whole / torch.where(small, torch.ones_like(square), square) @ matrix[:, None]
    return torch.where(small, cross_matrix(eye).expand_as(whole), exact)


class Projector:
    """Evaluates one clip's landmarks.

    Args:
        basis: restricted head model.
        layout: of the unknowns.
    """

    def __init__(self, basis: LandmarkBasis, layout: Layout) -> None:
        self.basis, self.layout = basis, layout

    def landmarks(self, state: State, jacobian: bool) -> Projected:
        """The MediaPipe points of `basis.index`."""
        basis, layout = self.basis, self.layout
        joints = _Joints(state.frame, layout)
        identity, expression = state.shared[layout.identity], state.frame[:, layout.expression]
        points = [p.points(identity, expression, joints.feature) for p in basis.parts]
        lids = state.frame[:, layout.lids]
        canonical = points[0] + torch.einsum("lck,nk->nlc", basis.lids, lids)
        for part, q, matrix in zip(basis.parts[1:], points[1:], joints.matrices, strict=True):
            canonical[:, part.rows] += q @ matrix.mT
        camera = _Camera(state, layout, canonical)
        columns = by_offset = None
        if jacobian:
            columns = camera.jacobian()
            columns[..., layout.lids] = camera.toward @ basis.lids
            turned = [camera.toward]  # [N, rows, 2, 3] from each part's q to pixels
            for part, matrix in zip(basis.parts[1:], joints.matrices, strict=True):
                turned.append(camera.toward[:, part.rows] @ matrix[:, None])
            for part, toward in zip(basis.parts, turned, strict=True):
                columns[:, part.rows] += self._linear(toward, part)
            by_offset = torch.zeros_like(camera.toward)
            for part, toward in zip(basis.parts, turned, strict=True):
                by_offset[:, part.rows] += toward * part.weight[:, None, None]
            for k in range(3):
                columns[..., self._joint_columns(k)] = self._joint(
                    k, joints, camera.toward, points[k + 1], turned
                )
        return Projected(camera.pixels, columns, camera.facing(basis.normals), by_offset)

    def contour(self, state: State, jacobian: bool) -> Projected:
        """The 17 points of the jaw line as seen at each frame's yaw."""
        basis, layout = self.basis, self.layout
        joints = _Joints(state.frame, layout)
        bins = contour_bins(state.rotation)
        first = bins[:, None] * CONTOUR_POINTS
        rows = first + torch.arange(CONTOUR_POINTS, device=bins.device)  # [N, 17]
        identity, expression = state.shared[layout.identity], state.frame[:, layout.expression]
        still, jaw = (_Gathered(part, rows) for part in basis.contour)
        q_still = still.points(identity, expression, joints.feature)
        q_jaw = jaw.points(identity, expression, joints.feature)
        canonical = q_still + q_jaw @ joints.matrices[0].mT
        camera = _Camera(state, layout, canonical)
        columns = None
        if jacobian:
            columns = camera.jacobian()
            toward = camera.toward
            turned = toward @ joints.matrices[0][:, None]
            shared = slice(layout.frame_size, layout.frame_size + layout.n_identity)
            columns[..., shared] = toward @ still.identity + turned @ jaw.identity
            columns[..., layout.expression] = toward @ still.expression + turned @ jaw.expression
            change = joints.derivative(0)
            columns[..., layout.jaw] = toward @ torch.einsum("nkij,nlj->nlik", change, q_jaw)
            for part, direction in ((still, toward), (jaw, turned)):
                if part.pose is not None:
                    moved = torch.einsum("nlcf,nkf->nlck", part.pose[..., :9], change.flatten(2))
                    columns[..., layout.jaw] += direction @ moved
        return Projected(camera.pixels, columns, camera.facing(basis.contour_normals[rows]))

    def _linear(self, toward: Tensor, part: Part) -> Tensor:
        """(N, rows, 2, P + Q): the columns of expression and identity of one part."""
        layout = self.layout
        size = layout.frame_size + layout.shared_size
        columns = toward.new_zeros(*toward.shape[:3], size)
        shared = slice(layout.frame_size, layout.frame_size + layout.n_identity)
        columns[..., layout.expression] = _apply(toward, part.expression)
        columns[..., shared] = _apply(toward, part.identity)
        return columns

    def _joint(
        self, joint: int, joints: _Joints, toward: Tensor, carried: Tensor, turned: list[Tensor]
    ) -> Tensor:
        """(N, L, 2, 2 or 3): derivatives by a joint's free angles, directly and by correctives."""
        parts = self.basis.parts
        change = joints.derivative(joint)  # [N, 3, 3, 3]
        own = parts[joint + 1]
        columns = toward.new_zeros(*toward.shape[:3], 3)
        columns[:, own.rows] = toward[:, own.rows] @ torch.einsum("nkij,nlj->nlik", change, carried)
        for part, direction in zip(parts, turned, strict=True):
            if part.pose is not None:
                correct = part.pose[..., 9 * joint : 9 * joint + 9]
                columns[:, part.rows] += direction @ torch.einsum(
                    "lcf,nkf->nlck", correct, change.flatten(2)
                )
        target = self._joint_columns(joint)
        return columns[..., : target.stop - target.start]

    def _joint_columns(self, joint: int) -> slice:
        if joint == 0:
            return self.layout.jaw
        start = self.layout.eyes.start + 2 * (joint - 1)
        return slice(start, start + 2)


def _apply(toward: Tensor, basis: Tensor) -> Tensor:
    """(N, L, 2, 3) x (L, 3, K) -> (N, L, 2, K)."""
    frames, count = toward.shape[:2]
    rows = toward.permute(1, 0, 2, 3).reshape(count, frames * 2, 3)
    return (rows @ basis).reshape(count, frames, 2, -1).transpose(0, 1)


class _Gathered:
    """The contour points of every frame's own bin: bases (N, 17, 3, K)."""

    def __init__(self, part: Part, rows: Tensor) -> None:
        self.template, self.identity = part.template[rows], part.identity[rows]
        self.expression = part.expression[rows]
        self.pose = None if part.pose is None else part.pose[rows]

    def points(self, identity: Tensor, expression: Tensor, feature: Tensor) -> Tensor:
        """As `Part.points`: (N, 17, 3)."""
        moved = torch.einsum("nlck,nk->nlc", self.expression, expression)
        if self.pose is not None:
            moved = moved + torch.einsum("nlck,nk->nlc", self.pose, feature)
        return self.template + self.identity @ identity + moved


class _Camera:
    """Projection of canonical points (N, L, 3) and the derivatives that all points share."""

    def __init__(self, state: State, layout: Layout, canonical: Tensor) -> None:
        self.layout = layout
        place = state.frame[:, None, layout.place]
        self.turned = canonical @ state.rotation.mT
        self.scale = place[..., 2:].exp()
        grown = self.turned * self.scale  # [N, L, 3] pixels
        self.ratio = grown[..., 2:] / state.shared[layout.focal].exp()
        self.divisor = 1 + self.ratio
        self.pixels = (grown[..., :2] + place[..., :2]) / self.divisor
        self.grown = grown
        self._focal = state.shared[layout.focal].exp()
        self._rotation = state.rotation

    def jacobian(self) -> Tensor:
        """(N, L, 2, P + Q) with the columns of pose and focal length filled, the rest zero."""
        layout = self.layout
        frames, count, _ = self.pixels.shape
        size = layout.frame_size + layout.shared_size
        columns = self.pixels.new_zeros(frames, count, 2, size)
        eye = torch.eye(2, dtype=columns.dtype, device=columns.device)
        by_grown = torch.cat(
            [eye.expand(frames, count, 2, 2), -self.pixels[..., None] / self._focal], -1
        )
        by_turned = by_grown * (self.scale / self.divisor)[..., None]
        self.toward = by_turned @ self._rotation[:, None]
        columns[..., layout.turn] = -by_turned @ cross_matrix(self.turned)
        start = layout.place.start
        columns[..., start : start + 2] = eye / self.divisor[..., None]
        columns[..., start + 2] = (self.grown[..., :2] - self.pixels * self.ratio) / self.divisor
        columns[..., layout.frame_size + layout.focal] = self.pixels * self.ratio / self.divisor
        return columns

    def facing(self, normals: Tensor) -> Tensor:
        """Cosine between outward normals, (L, 3) or (N, L, 3), and the direction to the camera."""
        outward = normals @ self._rotation.mT
        # The line of sight through a pixel is (x, y, f); the camera looks along it.
        sight = torch.cat([self.pixels, self._focal.expand_as(self.ratio)], -1)
        sight = torch.nn.functional.normalize(sight, dim=-1)
        return -(outward * sight).sum(-1)
