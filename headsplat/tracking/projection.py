"""Projected landmarks of many frames, with closed-form derivatives.

Positions are float64. Derivatives are float32 and written into the caller's arrays. They only set
the direction of a step, and memory bandwidth dominates the solve time.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from headsplat.heads.landmarks import contour_bins
from headsplat.heads.model import CONTOUR_POINTS
from headsplat.rotations import matrix_from_axis_angle
from headsplat.tracking.basis import LandmarkBasis
from headsplat.tracking.layout import Layout, State, eye_vectors


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


class _Joints:
    """Rotations of jaw and eyes, and their derivatives by the axis-angle components."""

    def __init__(self, frame: Tensor, layout: Layout) -> None:
        jaw, eyes = frame[:, layout.jaw], eye_vectors(frame[:, layout.eyes])
        start = layout.eyes.start
        self.columns = [layout.jaw, slice(start, start + 2), slice(start + 2, start + 4)]
        self.vectors = [jaw, eyes[:, 0], eyes[:, 1]]
        self.matrices = [matrix_from_axis_angle(v) for v in self.vectors]
        eye = torch.eye(3, dtype=frame.dtype, device=frame.device)
        self.feature = torch.cat([(m - eye).flatten(1) for m in self.matrices], 1)

    def derivative(self, joint: int) -> Tensor:
        """(N, 3, 3, 3) float32: entry [:, k] is dR/dv_k."""
        return rotation_derivative(self.vectors[joint], self.matrices[joint]).float()


class _Camera:
    """Projection of canonical points (N, L, 3)."""

    def __init__(self, state: State, layout: Layout, canonical: Tensor) -> None:
        self.layout = layout
        place = state.frame[:, None, layout.place]
        self.rotation = state.rotation
        self.turned = canonical @ self.rotation.mT
        self.scale = place[..., 2:].exp()
        self.grown = self.turned * self.scale  # [N, L, 3] pixels
        self.focal = state.shared[layout.focal].exp()
        self.ratio = self.grown[..., 2:] / self.focal
        self.divisor = 1 + self.ratio
        self.pixels = (self.grown[..., :2] + place[..., :2]) / self.divisor

    def by_turned(self) -> Tensor:
        """(N, L, 2, 3) derivative of the pixels by the turned points."""
        eye = torch.eye(2, dtype=self.pixels.dtype, device=self.pixels.device)
        flat = eye.expand(*self.pixels.shape, 2)
        grown = torch.cat([flat, -self.pixels[..., None] / self.focal], -1)
        return grown * (self.scale / self.divisor)[..., None]

    def columns(self, out: Tensor, weight: Tensor) -> Tensor:
        """Write the columns of the pose, and of the focal length if `out` has it.

        Args:
            out: (N, L, r, P + free) to fill.
            weight: (N, L, r, 2), factors of the pixel derivatives.

        Returns:
            (N, L, r, 3) weighted derivatives by the canonical points, float32.
        """
        layout = self.layout
        by_turned = (weight @ self.by_turned()).float()
        weight = weight.float()
        out[..., layout.turn] = -by_turned @ cross_matrix(self.turned.float())
        start = layout.place.start
        out[..., start : start + 2] = weight / self.divisor[..., None].float()
        grow = (self.grown[..., :2] - self.pixels * self.ratio) / self.divisor
        out[..., start + 2] = _along(weight, grow)
        if out.shape[-1] == layout.frame_size + layout.shared_size:
            zoom = self.pixels * self.ratio / self.divisor
            out[..., -1] = _along(weight, zoom)
        return _turn(by_turned, self.rotation.float())

    def facing(self, normals: Tensor) -> Tensor:
        """Cosine between outward normals, (L, 3), and the direction to the camera: (N, L)."""
        outward = normals @ self.rotation.mT
        # The viewing ray through a pixel is (x, y, f).
        sight = torch.cat([self.pixels, self.focal.expand_as(self.ratio)], -1)
        return -(outward * sight).sum(-1) / sight.norm(dim=-1)


@dataclass(frozen=True)
class LandmarkView:
    """The MediaPipe points of `basis.index` in the image.

    Attributes:
        pixels: (N, L, 2) from the principal point.
        facing: (N, L) cosine between the surface's normal and the line of sight.
    """

    pixels: Tensor
    facing: Tensor
    _basis: LandmarkBasis
    joints: _Joints
    _camera: _Camera
    carried: list[Tensor]

    def columns(self, out: Tensor, weight: Tensor) -> None:
        """Write the derivatives by the frame's unknowns and the first shared ones.

        Args:
            out: (N, L, 2, P + free) float32; as many shared unknowns as there is room for.
            weight: (N, L, 2, 2), factors of the pixel derivatives.
        """
        layout, parts = self._camera.layout, self._basis.parts
        toward = self._camera.columns(out, weight)
        free = min(out.shape[-1] - layout.frame_size, layout.n_identity)
        shared = slice(layout.frame_size, layout.frame_size + free)
        directions = [toward]  # [N, rows, 2, 3] from each part's points to weighted pixels
        for part, matrix in zip(parts[1:], self.joints.matrices, strict=True):
            directions.append(_turn(toward[:, part.rows], matrix.float()))
        for k, (part, direction) in enumerate(zip(parts, directions, strict=True)):
            rows = out[:, part.rows]
            _mix(rows[..., layout.expression], direction, part.expression_columns, k > 0)
            _mix(rows[..., shared], direction, part.identity_columns[..., :free], k > 0)
        _mix(out[..., layout.lids], toward, self._basis.lid_columns, False)
        for k, where in enumerate(self.joints.columns):
            change = self.joints.derivative(k)
            out[..., where] = 0
            own = parts[k + 1].rows
            moved = torch.einsum("nkij,nlj->nlik", change, self.carried[k + 1].float())
            columns = out[..., where]
            columns[:, own] += (toward[:, own] @ moved)[..., : columns.shape[-1]]
            for part, direction in zip(parts, directions, strict=True):
                if part.pose is not None:
                    correct = part.pose[..., 9 * k : 9 * k + 9].float()
                    moved = torch.einsum("lcf,nkf->nlck", correct, change.flatten(2))
                    columns[:, part.rows] += (direction @ moved)[..., : columns.shape[-1]]

    def by_offset(self) -> Tensor:
        """(N, L, 2, 3) float64 derivative by each point's position on the resting head."""
        toward = _turn(self._camera.by_turned(), self._camera.rotation)
        total = toward * self._basis.parts[0].weight[:, None, None]
        for part, matrix in zip(self._basis.parts[1:], self.joints.matrices, strict=True):
            turned = _turn(toward[:, part.rows], matrix)
            total[:, part.rows] += turned * part.weight[:, None, None]
        return total


@dataclass(frozen=True)
class ContourView:
    """The 17 points of the jaw line as seen at each frame's yaw: pixels (N, 17, 2)."""

    pixels: Tensor
    _basis: LandmarkBasis
    _joints: _Joints
    _camera: _Camera
    _jaw: Tensor
    _rows: Tensor

    @property
    def rotation(self) -> Tensor:
        """(N, 3, 3) from the head to the camera."""
        return self._camera.rotation

    def columns(self, out: Tensor, along: Tensor) -> None:
        """Write the derivatives of the positions along a direction each.

        Args:
            out: (N, 17, P + free) float32.
            along: (N, 17, 2), directions in the image times a factor.
        """
        layout = self._camera.layout
        out.zero_()
        toward = self._camera.columns(out[:, :, None], along[..., None, :])[:, :, 0]
        turned = toward @ self._joints.matrices[0].float()
        free = min(out.shape[-1] - layout.frame_size, layout.n_identity)
        shared = slice(layout.frame_size, layout.frame_size + free)
        change = self._joints.derivative(0)
        moved = torch.einsum("nkij,nlj->nlik", change, self._jaw.float())
        jaw = (toward[:, :, None] @ moved).squeeze(2)
        for part, direction in zip(self._basis.contour, (toward, turned), strict=True):
            for axis in range(3):
                factor = direction[..., axis : axis + 1]
                columns = part.expression_columns[:, axis][self._rows]
                out[..., layout.expression].addcmul_(factor, columns)
                columns = part.identity_columns[:, axis, :free][self._rows]
                out[..., shared].addcmul_(factor, columns)
            if part.pose is not None:
                correct = part.pose[self._rows][..., :9].float()
                moved = torch.einsum("nlcf,nkf->nlck", correct, change.flatten(2))
                jaw += (direction[:, :, None] @ moved).squeeze(2)
        out[..., layout.jaw] = jaw


class Projector:
    """Evaluates one clip's landmarks.

    Args:
        basis: restricted head model.
        layout: of the unknowns.
    """

    def __init__(self, basis: LandmarkBasis, layout: Layout) -> None:
        self.basis, self.layout = basis, layout

    def landmarks(self, state: State) -> LandmarkView:
        """The MediaPipe points of `basis.index`."""
        basis, layout = self.basis, self.layout
        joints = _Joints(state.frame, layout)
        identity, expression = state.shared[layout.identity], state.frame[:, layout.expression]
        carried = [p.points(identity, expression, joints.feature) for p in basis.parts]
        lids = state.frame[:, layout.lids]
        canonical = carried[0] + torch.einsum("lck,nk->nlc", basis.lids, lids)
        for part, q, matrix in zip(basis.parts[1:], carried[1:], joints.matrices, strict=True):
            canonical[:, part.rows] += q @ matrix.mT
        camera = _Camera(state, layout, canonical)
        return LandmarkView(
            camera.pixels, camera.facing(basis.normals), basis, joints, camera, carried
        )

    def contour(self, state: State) -> ContourView:
        """The jaw line."""
        basis, layout = self.basis, self.layout
        joints = _Joints(state.frame, layout)
        first = contour_bins(state.rotation)[:, None] * CONTOUR_POINTS
        rows = first + torch.arange(CONTOUR_POINTS, device=first.device)  # [N, 17]
        identity, expression = state.shared[layout.identity], state.frame[:, layout.expression]
        still, jaw = (
            part.chosen_points(rows, identity, expression, joints.feature) for part in basis.contour
        )
        camera = _Camera(state, layout, still + jaw @ joints.matrices[0].mT)
        return ContourView(camera.pixels, basis, joints, camera, jaw, rows)


def _along(weight: Tensor, vector: Tensor) -> Tensor:
    """(N, L, r, 2) . (N, L, 2) -> (N, L, r); written out, which is faster for a sum over two."""
    vector = vector[..., None, :].float()
    return weight[..., 0] * vector[..., 0] + weight[..., 1] * vector[..., 1]


def _turn(rows: Tensor, matrix: Tensor) -> Tensor:
    """(N, L, r, 3) x (N, 3, 3) from the right."""
    return (rows.flatten(1, 2) @ matrix).view(rows.shape)


def _mix(out: Tensor, toward: Tensor, basis: Tensor, add: bool) -> None:
    """Fill or add to `out` (N, L, 2, K): (N, L, 2, 3) x (L, 3, K)."""
    for axis in range(3):
        factor, columns = toward[..., axis : axis + 1], basis[:, None, axis]
        if add or axis:
            out.addcmul_(factor, columns)
        else:
            torch.mul(factor, columns, out=out)
