"""Skin points in the image, with derivatives by the solver's unknowns.

The same points are used for the whole clip, so each has one albedo and its bases are gathered once.
Skin follows skull and jaw only: point = q_still + R_jaw q_jaw + lids, as in
`headsplat.tracking.basis`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from headsplat.heads.model import HeadModel
from headsplat.rotations import matrix_from_axis_angle
from headsplat.tracking.basis import LandmarkBasis, at_points, joint_parts
from headsplat.tracking.layout import Layout, State, eye_vectors
from headsplat.tracking.projection import rotation_derivative

# Patches of neighboring points, which are usually occluded together.
PATCHES = 96
# Every n-th patch is held out.
HELD_OUT_STEP = 8
# Expressions that move the points by less than this share of their largest motion are left to the
# landmarks. A squint is better observed at the lids than on the skin around them.
SHOWN = 0.7
# Skin this close to an opening, meters, is excluded, because lids and lips occlude it.
OPENINGS = (
    (("left_eyeball", "right_eyeball"), 0.004),
    (("mouth_interior", "upper_teeth", "lower_teeth", "teeth"), 0.004),
)
JAW_PART, LEFT_EYE_PART, RIGHT_EYE_PART = 1, 2, 3


@dataclass(frozen=True)
class ProjectedPoints:
    """Projected skin points of some frames, with the factors of their derivatives.

    Attributes:
        pixels: (N, M, 2) from the principal point.
        turned: (N, M, 3) meters, along the camera's axes, from the head's origin.
        carried: (N, M, 3) meters, the part that the jaw turns, before it turns.
        divisor: (N, M) depth over the depth of the head's origin.
        by_turned: (N, M, 2, 3) pixels by `turned`.
        jaw: (N, 3, 3) rotation of the jaw.
    """

    pixels: Tensor
    turned: Tensor
    carried: Tensor
    divisor: Tensor
    by_turned: Tensor
    jaw: Tensor


class SurfacePoints:
    """Skin points of one head, float32.

    Args:
        head: the model.
        basis: the landmarks' basis, whose coordinates of identity and expression are used.
        layout: of the unknowns.
        places: from `skin_points`.

    Attributes:
        face: (M,) long, rows of `head.faces`; barycentric (M, 3).
        patch: (M,) long in 0..PATCHES - 1.
        held_out: (M,) bool.
        shown: (E,) 1 for expressions that the points show, 0 for those left to the landmarks.
    """

    def __init__(
        self,
        head: HeadModel,
        basis: LandmarkBasis,
        layout: Layout,
        places: tuple[np.ndarray, np.ndarray],
    ) -> None:
        device = basis.lids.device
        face, weights = places
        corners = head.faces[face]
        identity, expression = basis.identity_space, basis.expression_space
        parts = joint_parts(head, corners, weights, identity, expression.matrix)
        eyes = parts[LEFT_EYE_PART]["weight"] + parts[RIGHT_EYE_PART]["weight"]
        keep = eyes < 1e-3
        face, weights, corners = face[keep], weights[keep], corners[keep]

        def tensor(array: np.ndarray) -> Tensor:
            return torch.as_tensor(array, dtype=torch.float32, device=device)

        def stacked(name: str) -> Tensor:
            # [M, 6, K]: rows of the still part, then of the jaw's.
            return tensor(np.concatenate([parts[0][name][keep], parts[JAW_PART][name][keep]], 1))

        self.layout, self.device = layout, device
        self.face = torch.as_tensor(face, device=device)
        self.barycentric = tensor(weights)
        self._template = stacked("template")
        self.identity, self._expression = stacked("identity"), stacked("expression")
        self._pose = None if parts[0]["pose"] is None else stacked("pose")
        self._lids = tensor(at_points(head.eyelid_basis, corners, weights))
        self.shown = tensor(_seen_shapes(head, expression.matrix, corners, weights))
        points = at_points(head.template, corners, weights)
        patch = _patches(points)
        self.patch = torch.as_tensor(patch, device=device)
        self.held_out = torch.as_tensor(patch % HELD_OUT_STEP == 0, device=device)

    def __len__(self) -> int:
        return len(self.face)

    def place(self, state: State) -> ProjectedPoints:
        """Project all points into the frames of `state`."""
        layout = self.layout
        frame, rotation = state.frame.float(), state.rotation.float()
        identity = state.shared[layout.identity].float()
        focal = state.shared[layout.focal].exp().float()
        vector = frame[:, layout.jaw]
        jaw = matrix_from_axis_angle(vector)
        flat = (self._template + self.identity @ identity).flatten()
        moved = frame[:, layout.expression] @ self._expression.flatten(0, 1).T
        q = (flat + moved).unflatten(1, self._template.shape)
        if self._pose is not None:
            eye = torch.eye(3, device=self.device)
            joints = [jaw, *matrix_from_axis_angle(eye_vectors(frame[:, layout.eyes])).unbind(1)]
            feature = torch.cat([(m - eye).flatten(1) for m in joints], 1)
            q = q + (feature @ self._pose.flatten(0, 1).T).unflatten(1, self._template.shape)
        lids = (frame[:, layout.lids] @ self._lids.flatten(0, 1).T).unflatten(1, (-1, 3))
        canonical = q[..., :3] + q[..., 3:] @ jaw.mT + lids
        place = frame[:, None, layout.place]
        turned = canonical @ rotation.mT
        scale = place[..., 2:].exp()
        grown = turned * scale
        divisor = 1 + grown[..., 2:] / focal
        pixels = (grown[..., :2] + place[..., :2]) / divisor
        across = torch.eye(2, device=self.device).expand(*pixels.shape[:2], 2, 2)
        by_grown = torch.cat([across, -pixels[..., None] / focal], -1)
        by_turned = by_grown * (scale / divisor)[..., None]
        return ProjectedPoints(pixels, turned, q[..., 3:], divisor.squeeze(-1), by_turned, jaw)

    def along(
        self, placed: ProjectedPoints, state: State, slope: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Chain rule from image gradients to surface points.

        Args:
            placed: from `place`.
            state: the same.
            slope: (N, M, 2) brightness by pixel.

        Returns:
            brightness by `turned` (N, M, 3), by the canonical point (N, M, 3), and by the stacked
            still and jaw parts (N, M, 6).
        """
        by_turned = (slope[..., None, :] @ placed.by_turned).squeeze(-2)
        by_point = by_turned @ state.rotation.float()
        return by_turned, by_point, torch.cat([by_point, by_point @ placed.jaw], -1)

    def frame_rows(
        self,
        placed: ProjectedPoints,
        state: State,
        slope: Tensor,
        pull: tuple[Tensor, Tensor, Tensor],
    ) -> Tensor:
        """(N, M, P) brightness by one frame's unknowns.

        Args:
            placed: from `place`.
            state: the same.
            slope: (N, M, 2).
            pull: from `along`.
        """
        layout = self.layout
        by_turned, by_point, by_parts = pull
        frames, count = slope.shape[:2]
        rows = slope.new_zeros(frames, count, layout.frame_size)
        rows[..., layout.expression] = _batched(by_parts, self._expression) * self.shown
        rows[..., layout.lids] = (by_point[..., None, :] @ self._lids).squeeze(-2)
        vector = state.frame[:, layout.jaw].float()
        change = rotation_derivative(vector, placed.jaw)  # [N, 3, 3, 3]
        swung = torch.einsum("nkij,nlj->nlki", change, placed.carried)
        rows[..., layout.jaw] = (swung @ by_point[..., None]).squeeze(-1)
        if self._pose is not None:
            correct = _batched(by_parts, self._pose[..., :9])
            rows[..., layout.jaw] += correct @ change.flatten(2).mT
        rows[..., layout.turn] = torch.linalg.cross(placed.turned, by_turned)
        rows[..., layout.place.start : layout.place.stop - 1] = slope / placed.divisor[..., None]
        # Scale moves a point along `turned`; perspective is in `by_turned`.
        rows[..., layout.place.stop - 1] = (by_turned * placed.turned).sum(-1)
        return rows

    def identity_rows(self, by_parts: Tensor) -> Tensor:
        """(N, M, Q) brightness by the identity's coordinates, of (N, M, 6) `by_parts`."""
        return _batched(by_parts, self.identity)


def _batched(left: Tensor, basis: Tensor) -> Tensor:
    """(N, M, 6) x (M, 6, K) -> (N, M, K)."""
    return torch.bmm(left.transpose(0, 1), basis).transpose(0, 1)


def skin_points(head: HeadModel, count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Random points, by area, of triangles that are facial skin.

    Returns:
        (M,) rows of `head.faces` and (M, 3) barycentric weights.
    """
    rng = np.random.default_rng(seed)
    skin = np.zeros(len(head.template), dtype=bool)
    skin[head.regions["face"]] = True
    template = head.template.astype(np.float64)
    for names, margin in OPENINGS:
        edge = np.concatenate([head.regions.get(name, np.empty(0, int)) for name in names])
        near = cKDTree(template[edge]).query(template)[0] if len(edge) else np.inf
        skin &= near > margin
    faces = np.flatnonzero(skin[head.faces].all(1))
    a, b, c = (head.template[head.faces[faces, k]].astype(np.float64) for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    # Systematic sampling: one point in every equal share of the area.
    at = (np.arange(count) + rng.random(count)) / count * area.sum()
    chosen = np.minimum(np.searchsorted(np.cumsum(area), at), len(faces) - 1)
    root, share = np.sqrt(rng.random(count)), rng.random(count)
    weights = np.stack([1 - root, root * (1 - share), root * share], 1)
    return faces[chosen], weights


def _seen_shapes(
    head: HeadModel, matrix: np.ndarray, corners: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """(E,) bool: directions that move the points nearly as far as any facial skin."""
    skin = np.union1d(head.regions["face"], head.regions["eye_region"])
    most = np.linalg.norm(head.expression_basis[skin] @ matrix, axis=1).max(0)
    shown = np.linalg.norm(at_points(head.expression_basis, corners, weights) @ matrix, axis=1)
    return shown.max(0) >= SHOWN * most


def _patches(points: np.ndarray) -> np.ndarray:
    """(M,) index of the nearest of `PATCHES` centers, chosen by farthest-point sampling."""
    chosen = [0]
    nearest = np.full(len(points), np.inf)
    patch = np.zeros(len(points), dtype=np.int64)
    for number in range(PATCHES):
        away = ((points - points[chosen[-1]]) ** 2).sum(1)
        patch[away < nearest] = number
        nearest = np.minimum(nearest, away)
        chosen.append(int(nearest.argmax()))
    return patch
