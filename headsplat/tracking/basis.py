"""The head model restricted to its landmarks, in the solver's coordinates.

Linear blend skinning of a surface point is exact here. For every joint, the sum of weight x
barycentric x vertex is linear in the coefficients, and so are the joints, so that

    point = q_still + R_jaw q_jaw + R_left q_left + R_right q_right + lids

with every q linear in identity, expression and (if the model has them) pose correctives.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from headsplat.heads.landmarks import MEDIAPIPE_GROUPS, pick
from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError

JAW, LEFT_EYE, RIGHT_EYE = 2, 3, 4
# First index of the second detector's 68 points.
SECOND = 1000
# Unobservable directions are dropped: those of identity (and of an unbounded expression space) that
# move the landmarks by less than this RMS, in meters, at one standard deviation.
SEEN = 4e-5
# Factor on the standard deviation of expression shapes that duplicate a joint or lid (jawOpen,
# eyeBlink), so that the joint or lid explains the motion.
DOUBLE_COSINE, DOUBLE_SHARE = 0.85, 0.2


@dataclass(frozen=True)
class JointPart:
    """Points rigidly attached to one joint: q = template + bases.

    rows: which points; weight (n,) skinning weight of the joint; template (n, 3);
    identity (n, 3, Q); expression (n, 3, E); pose (n, 3, 27) correctives of jaw and eyes, or None.
    """

    rows: slice
    weight: Tensor
    template: Tensor
    identity: Tensor
    expression: Tensor
    pose: Tensor | None

    def points(self, identity: Tensor, expression: Tensor, feature: Tensor) -> Tensor:
        """(Q,), (N, E), (N, 27) -> (N, n, 3)."""
        still = self.template + self.identity @ identity
        moved = torch.einsum("lck,nk->nlc", self.expression, expression)
        if self.pose is not None:
            moved = moved + torch.einsum("lck,nk->nlc", self.pose, feature)
        return still + moved

    def chosen_points(
        self, rows: Tensor, identity: Tensor, expression: Tensor, feature: Tensor
    ) -> Tensor:
        """Points selected per frame: (N, m) row numbers, (Q,), (N, E), (N, 27) -> (N, m, 3)."""
        still = self.template + self.identity @ identity
        moved = torch.einsum("nlck,nk->nlc", self.expression[rows], expression)
        if self.pose is not None:
            moved = moved + torch.einsum("nlck,nk->nlc", self.pose[rows], feature)
        return still[rows] + moved

    @cached_property
    def identity_columns(self) -> Tensor:
        """`identity` in float32, for derivatives."""
        return self.identity.float()

    @cached_property
    def expression_columns(self) -> Tensor:
        """`expression` in float32, for derivatives."""
        return self.expression.float()


@dataclass(frozen=True)
class Space:
    """Affine map from solver coordinates to coefficients: mean + matrix @ coordinates."""

    matrix: np.ndarray
    mean: np.ndarray

    def coefficients(self, coordinates: np.ndarray) -> np.ndarray:
        """(..., k) -> (..., K)."""
        return self.mean + coordinates @ self.matrix.T


class LandmarkBasis:
    """Linear bases of the landmarks of a head model.

    Args:
        head: the model.
        identity_mean: (S,) mean of the identity prior, zero by default.
        device: torch device of the bases.
        second: include the second detector's 68 points.
        skin: corners (n, 3) and weights (n, 3) of surface points; identity directions that move
            only these are kept too.

    Attributes:
        index: (L,) MediaPipe number of every point of `parts`, or `SECOND` plus that of the 68.
        groups: name -> rows of these points.
        parts: still, jaw, left eye and right eye, over the MediaPipe points.
        contour: still and jaw, over the 79 x 17 points of the sliding jaw line, row-major.
        lids: (L, 3, 2); lid_columns the same in float32, for derivatives.
        normals: (L, 3) smooth outward directions on the neutral head, for visibility.
        identity_space, expression_space: to the model's coefficients.
        bounds: (E, 2) of the expression coordinates, infinite if the model has no range.
        expression_std: (E,) prior standard deviation of the expression coordinates.

    Raises:
        UserError: the head model has no MediaPipe landmarks.
    """

    def __init__(
        self,
        head: HeadModel,
        identity_mean: np.ndarray | None = None,
        device: torch.device | str = "cpu",
        second: bool = False,
        skin: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        # The face oval is the silhouette of the face, not fixed surface points, so it is compared
        # with the sliding contour.
        known = tuple(
            i for name, group in MEDIAPIPE_GROUPS.items() if name != "oval" for i in group
        )
        marks = head.landmarks["mediapipe"]
        if not len(marks.index):
            raise UserError(
                f"head model {head.name}: has no MediaPipe landmarks, because no detector was "
                "installed where it was built; remove its file and build it here"
            )
        sets = [(pick(marks, known), 0)]
        if second:
            sets.append((head.landmarks["multipie68"], SECOND))
        corners = np.concatenate([one.corners for one, _ in sets])
        weights = np.concatenate([one.barycentric for one, _ in sets])
        order = _sorted_by_joint(head, corners)
        self.index = np.concatenate([one.index + start for one, start in sets])[order]
        contour = head.landmarks["contour"]
        corners = np.concatenate([corners[order], contour.corners.reshape(-1, 3)])
        weights = np.concatenate([weights[order], contour.barycentric.reshape(-1, 3)])
        weights = weights.astype(np.float64)
        members = {name: group for name, group in MEDIAPIPE_GROUPS.items() if name != "oval"}
        if second:
            members["multipie68"] = tuple(range(SECOND, SECOND + 68))
        self.groups = {
            name: np.flatnonzero(np.isin(self.index, group)) for name, group in members.items()
        }
        count = len(self.index)

        std = head.shape_std.astype(np.float64)
        mean = np.zeros(len(std)) if identity_mean is None else identity_mean.astype(np.float64)
        shapes = at_points(head.shape_basis, corners, weights)
        expressions = at_points(head.expression_basis, corners, weights)
        frontal = np.r_[0:count, count : count + 17]
        seen = shapes[frontal]
        if skin is not None:
            seen = np.concatenate([seen, at_points(head.shape_basis, *skin)])
        self.identity_space = Space(_observable_directions(seen * std, std), mean)
        if head.expression_range is None:
            scale = head.expression_std.astype(np.float64)
            matrix = _observable_directions(expressions[frontal] * scale, scale)
            self.expression_std = torch.ones(matrix.shape[1], dtype=torch.float64)
            limits = np.tile([-np.inf, np.inf], (matrix.shape[1], 1))
        else:
            matrix = np.eye(len(head.expression_std))
            self.expression_std = torch.as_tensor(head.expression_std, dtype=torch.float64)
            limits = head.expression_range.astype(np.float64)
        self.expression_space = Space(matrix, np.zeros(len(matrix)))
        self.bounds = torch.as_tensor(limits, device=device)

        parts = joint_parts(head, corners, weights, self.identity_space, matrix)

        def tensors(part: dict, rows: slice) -> JointPart:
            def pick(name: str) -> Tensor | None:
                value = part[name]
                return None if value is None else torch.as_tensor(value[rows], device=device)

            names = ("weight", "template", "identity", "expression", "pose")
            return JointPart(rows, *(pick(name) for name in names))

        self.parts = [tensors(parts[0], slice(0, count))]
        for part in parts[1:]:
            own = np.flatnonzero(part["weight"][:count] > 1e-6)
            run = slice(int(own.min()), int(own.max()) + 1) if len(own) else slice(0, 0)
            self.parts.append(tensors(part, run))
        bank = slice(count, len(corners))
        self.contour = [tensors(parts[0], bank), tensors(parts[1], bank)]
        lids = at_points(head.eyelid_basis, corners[:count], weights[:count])
        self.lids = torch.as_tensor(lids, device=device)
        self.lid_columns = self.lids.float()
        doubles = _duplicates_joints(
            expressions[:count] @ matrix, lids, parts[1]["template"][:count]
        )
        self.expression_std *= torch.as_tensor(np.where(doubles, DOUBLE_SHARE, 1.0))
        self.expression_std = self.expression_std.to(device)
        normals = _smooth_normals(head, corners[:count], weights[:count])
        self.normals = torch.as_tensor(normals, device=device)

    def shift(self, offsets: Tensor) -> None:
        """Shift the landmarks on the model by (L, 3) meters in the head's rest pose."""
        for k, part in enumerate(self.parts):
            moved = part.template + part.weight[:, None] * offsets[part.rows]
            self.parts[k] = replace(part, template=moved)

    def size_gradient(self) -> Tensor:
        """(Q,) derivative of the neutral landmarks' relative size by each identity coordinate."""
        whole = self.parts[0].template.clone()
        change = self.parts[0].identity.clone()
        for part in self.parts[1:]:
            whole[part.rows] += part.template
            change[part.rows] += part.identity
        whole, change = whole - whole.mean(0), change - change.mean(0)
        return torch.einsum("lc,lcq->q", whole, change) / whole.square().sum()


def _sorted_by_joint(head: HeadModel, corners: np.ndarray) -> np.ndarray:
    """Points sorted by joint, so that each part is one contiguous range."""
    carrier = np.zeros(len(corners), dtype=int)
    for joint in (JAW, LEFT_EYE, RIGHT_EYE):
        carrier[(head.skinning[corners, joint] > 1e-6).any(1)] = joint
    return np.argsort(carrier, kind="stable")


def at_points(array: np.ndarray, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(V, ...) per vertex -> (n, ...) per surface point, float64."""
    shaped = weights.reshape(*weights.shape, *(1,) * (array.ndim - 1))
    total = np.zeros((len(corners), *array.shape[1:]))
    for corner in range(3):
        total += array[corners[:, corner]] * shaped[:, corner]
    return total


def _observable_directions(effect: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Columns: directions of the coefficients, one prior standard deviation long each.

    Args:
        effect: (n, 3, K) meters per standard deviation of each coefficient.
        std: (K,).
    """
    flat = effect.reshape(-1, effect.shape[2])
    _, sizes, rows = np.linalg.svd(flat, full_matrices=False)
    keep = sizes / np.sqrt(len(effect)) > SEEN
    return std[:, None] * rows[keep].T


def _duplicates_joints(expressions: np.ndarray, lids: np.ndarray, jaw: np.ndarray) -> np.ndarray:
    """(K,) bool: expression directions that duplicate jaw opening or lid closing.

    Shapes that open the eye count too, because they and the lid could cancel. Closing the lips over
    an open jaw (mouthClose) does not count.

    Args:
        expressions: (L, 3, K) displacements.
        lids: (L, 3, 2) displacements.
        jaw: (L, 3) points relative to the jaw joint, times their jaw weight.
    """
    opening = np.cross([1.0, 0.0, 0.0], jaw)
    known = np.concatenate([lids, opening[..., None]], 2).reshape(-1, 3)
    known = known / (np.linalg.norm(known, axis=0) + 1e-12)
    flat = expressions.reshape(len(known), -1)
    flat = flat / (np.linalg.norm(flat, axis=0) + 1e-12)
    cosine = known.T @ flat
    cosine[:2] = np.abs(cosine[:2])
    return (cosine > DOUBLE_COSINE).any(0)


def joint_parts(
    head: HeadModel,
    corners: np.ndarray,
    weights: np.ndarray,
    identity: Space,
    expression: np.ndarray,
) -> list[dict]:
    """The landmark basis split by joint: trunk and neck, jaw, left eye, right eye.

    Returns:
        one dictionary per part, its bases weighted with the part's skinning weights.
    """
    regressor = head.joint_regressor.astype(np.float64)
    joint_mean = regressor @ (head.template + head.shape_basis @ identity.mean)
    joint_identity = np.tensordot(regressor, head.shape_basis, 1) @ identity.matrix
    joint_expression = np.tensordot(regressor, head.expression_basis, 1) @ expression
    neutral = head.template.astype(np.float64) + head.shape_basis @ identity.mean
    parts = []
    for joints in ([0, 1], [JAW], [LEFT_EYE], [RIGHT_EYE]):
        skin = head.skinning[:, joints].sum(1).astype(np.float64)
        carried = weights * skin[corners]
        parts.append(
            {
                "weight": carried.sum(1),
                "template": at_points(neutral, corners, carried),
                "identity": at_points(head.shape_basis, corners, carried) @ identity.matrix,
                "expression": at_points(head.expression_basis, corners, carried) @ expression,
                # Columns 0..8 belong to the neck, which does not turn.
                "pose": None
                if head.pose_basis is None
                else at_points(head.pose_basis[..., 9:], corners, carried),
            }
        )
    # A joint rotates its points about itself: R (q - w J) + w J; the second term is static.
    for part, joint in zip(parts[1:], (JAW, LEFT_EYE, RIGHT_EYE), strict=True):
        weight = part["weight"][:, None]
        for name, value in (
            ("template", joint_mean[joint]),
            ("identity", joint_identity[joint]),
            ("expression", joint_expression[joint]),
        ):
            shift = weight.reshape(-1, *(1,) * value.ndim) * value
            part[name] = part[name] - shift
            parts[0][name] = parts[0][name] + shift
    return parts


def _smooth_normals(head: HeadModel, corners: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Normals averaged over 2 cm, so that lip and lid folds do not count as occluded."""
    template = head.template.astype(np.float64)
    a, b, c = (template[head.faces[:, i]] for i in range(3))
    facets = np.cross(b - a, c - a)
    normals = np.zeros_like(template)
    for corner in range(3):
        np.add.at(normals, head.faces[:, corner], facets)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    face = head.regions["face"]
    points = at_points(template, corners, weights)
    square = (points**2).sum(1)[:, None] - 2 * points @ template[face].T
    square += (template[face] ** 2).sum(1)
    mixed = np.exp(-0.5 * square / 0.01**2) @ normals[face]
    return mixed / (np.linalg.norm(mixed, axis=1, keepdims=True) + 1e-12)
