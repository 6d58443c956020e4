"""Calibrate MediaPipe's 478 landmarks on a head model by detecting them in its renders.

The head is rendered from several sides with several expressions, and the face mesh detector is
run on each image. Every landmark votes for the surface point beneath it. Landmarks of a border (lid
margins, lip borders) vote for the nearest visible point of that border. Otherwise an error of one
pixel could select the eyeball or the wrong lip.
"""

import importlib.util
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np

from headsplat.detect.mediapipe_models import FaceModels
from headsplat.detect.tracker import find_face
from headsplat.heads.calibration_views import View, ViewLabels, render_views, template_points
from headsplat.heads.landmarks import MEDIAPIPE_GROUPS
from headsplat.heads.model import HeadModel, LandmarkSet
from headsplat.heads.surface import closest_points
from headsplat.runtime.errors import UserError
from headsplat.runtime.logs import log

POINTS = 478
# The 105 points that metrical-tracker fits, and the irises: kept even if votes scatter.
ALWAYS = tuple(
    index for name, group in MEDIAPIPE_GROUPS.items() if name != "oval" for index in group
)
# Upper halves of the lip groups; the rest of each group is the lower lip.
UPPER_LIPS = (
    185, 40, 39, 37, 0, 267, 269, 270, 409, 191, 80, 81, 82, 13, 312, 311, 310, 415,
)  # fmt: skip
CORNERS = (61, 291, 78, 308)
IRISES = MEDIAPIPE_GROUPS["left_iris"] + MEDIAPIPE_GROUPS["right_iris"]
# Share of the views in which a face must be found.
LEAST_FOUND = 0.5
# 2.5 standard deviations of a normal distribution in median absolute deviations.
OUTLIER = 2.5 * 1.4826

R = TypeVar("R")


class RenderedView(Protocol):
    """A rendered view with `image` (H, W, 3) u8 RGB."""

    image: np.ndarray


V = TypeVar("V", bound=RenderedView)


@dataclass(frozen=True)
class Calibration:
    """Calibrated landmarks and their scatter.

    Attributes:
        landmarks: the reliable points, `index` ascending.
        spread: (478,) f64 meters, root mean square distance of a landmark's votes from their
            center on the template; NaN without votes.
        votes: (478,) i64, number of votes.
        images: number of images in which a face was found.
    """

    landmarks: LandmarkSet
    spread: np.ndarray
    votes: np.ndarray
    images: int


def calibrate(head: HeadModel, largest_spread: float = 0.004) -> Calibration:
    """Find the surface points of MediaPipe's landmarks on `head`, which must have an albedo.

    Deterministic. A landmark is kept if at least 40 % of the images voted for it and the spread is
    at most `largest_spread` meters. Points in `ALWAYS` are always kept.

    Raises:
        UserError: the head has no albedo, or the detector does not find its face.
    """
    if head.albedo is None:
        raise UserError(f"head model {head.name}: has no albedo, the detector needs one")
    samples = detect_in_views(
        head.name, render_views(head), lambda view, found: _votes(head, view, found), LEAST_FOUND
    )
    positions, spread, votes = _consensus(np.stack(samples))
    known = np.isfinite(spread)
    good = known & (votes >= 0.4 * len(samples)) & (spread <= largest_spread)
    always = np.isin(np.arange(POINTS), ALWAYS)
    lost = np.flatnonzero(always & ~known)
    if len(lost):
        raise UserError(f"head model {head.name}: no image shows MediaPipe points {lost}")
    index = np.flatnonzero(good | always)
    landmarks = _snap(head, positions[index], index)
    return Calibration(landmarks, spread, votes, len(samples))


def detector_is_installed(head: str) -> bool:
    """Whether landmarks can be calibrated here; if not, a warning says what this head lacks.

    Args:
        head: name of the head model.
    """
    if importlib.util.find_spec("ai_edge_litert") is not None:
        return True
    log.warning(
        "%s: its landmarks are not calibrated, because ai-edge-litert is not installed; tracks "
        "made elsewhere fit this head; to track here install it, and build the head file again",
        head,
    )
    return False


def with_calibrated_mediapipe(head: HeadModel) -> HeadModel:
    """`head` with its "mediapipe" landmarks replaced by calibrated ones, if there is a detector."""
    if not detector_is_installed(head.name):
        return head
    found = calibrate(head)
    log.info(
        "%s: %d MediaPipe points placed from %d images, votes scatter by %.1f mm (median)",
        head.name, len(found.landmarks.index), found.images,
        1e3 * np.median(found.spread[found.landmarks.index]),
    )  # fmt: skip
    return replace(head, landmarks={**head.landmarks, "mediapipe": found.landmarks})


def detect_in_views(
    name: str, views: Iterable[V], vote: Callable[[V, np.ndarray], R], least: float
) -> list[R]:
    """Detect the landmarks on rendered views of a head.

    Args:
        name: name of the head model, for messages.
        views: rendered views.
        vote: called for each view with a face, with its points (478, 2) in pixels.
        least: share of the views in which a face must be found.

    Returns:
        What `vote` returned.

    Raises:
        UserError: a face is found in too few of the views.
    """
    results, shown = [], 0
    models = FaceModels()
    for view in views:
        shown += 1
        points = find_face(models, view.image)
        if points is not None:
            results.append(vote(view, points[:, :2].astype(np.float64)))
    if len(results) < least * shown:
        raise UserError(
            f"head model {name}: the face detector found {len(results)} of {shown} rendered "
            "faces; its geometry or albedo does not look like a face"
        )
    return results


def pixel_indices(points: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows (n,) and columns (n,) of the pixels of a square image that hold `points` (n, 2)."""
    column, row = np.floor(points).astype(int).clip(0, size - 1).T
    return row, column


def robust_center(votes: np.ndarray, width: float) -> tuple[np.ndarray, float]:
    """Mean (3,) of the votes near their median, and the median distance to it.

    Args:
        votes: (n, 3).
        width: inlier threshold, in median distances from the median.
    """
    distance = np.linalg.norm(votes - np.median(votes, 0), axis=1)
    middle = np.median(distance)
    return votes[distance <= max(width * middle, 1e-6)].mean(0), middle


def _votes(head: HeadModel, view: View, points: np.ndarray) -> np.ndarray:
    """(478, 3) template positions, NaN where the view gives no vote."""
    votes = np.full((POINTS, 3), np.nan)
    row, column = pixel_indices(points, view.face.shape[0])
    iris = np.isin(np.arange(POINTS), IRISES)
    # The detector extrapolates the iris under the lids, so the whole eyeball is searched.
    face = np.where(iris, view.eye_face[row, column], view.face[row, column])
    weights = np.where(
        iris[:, None], view.eye_barycentric[row, column], view.barycentric[row, column]
    )
    skin = np.isin(view.labels[row, column], (ViewLabels.SKIN, *ViewLabels.LIPS))
    keep = (face >= 0) & (iris | (skin & (view.facing[row, column] > 0.25)))
    votes[keep] = template_points(head, face[keep], weights[keep])
    for indices, border in _borders(view):
        votes[list(indices)] = _border_votes(head, view, points[list(indices)], border)
    return votes


def _borders(view: View) -> list[tuple[tuple[int, ...], np.ndarray]]:
    """Groups of landmarks, each with a mask of the pixels along the border it lies on."""
    labels = view.labels
    upper, lower = labels == ViewLabels.UPPER_LIP, labels == ViewLabels.LOWER_LIP
    skin, inside = labels == ViewLabels.SKIN, labels == ViewLabels.MOUTH
    outer, inner = MEDIAPIPE_GROUPS["lips_outer"], MEDIAPIPE_GROUPS["lips_inner"]
    borders = []
    for name, eye in (("left_eye", ViewLabels.LEFT_EYE), ("right_eye", ViewLabels.RIGHT_EYE)):
        borders.append((MEDIAPIPE_GROUPS[name], skin & _neighbors_of(labels == eye)))
    for group, partner in ((outer, skin), (inner, inside)):
        for lip, other, top in ((upper, lower, True), (lower, upper, False)):
            chosen = tuple(i for i in group if i not in CORNERS and (i in UPPER_LIPS) == top)
            touching = partner if partner is skin else partner | other
            borders.append((chosen, lip & _neighbors_of(touching)))
    borders.append(((61, 291), (upper | lower) & _neighbors_of(skin)))
    borders.append(
        (
            (78, 308),
            (upper & _neighbors_of(lower | inside)) | (lower & _neighbors_of(upper | inside)),
        )
    )
    return borders


def _neighbors_of(mask: np.ndarray) -> np.ndarray:
    """Pixels with a 4-neighbor in `mask`."""
    out = np.zeros_like(mask)
    out[1:] |= mask[:-1]
    out[:-1] |= mask[1:]
    out[:, 1:] |= mask[:, :-1]
    out[:, :-1] |= mask[:, 1:]
    return out


def _border_votes(
    head: HeadModel, view: View, points: np.ndarray, border: np.ndarray
) -> np.ndarray:
    """(n, 3) template positions of the border pixels nearest to `points`, NaN if none is near."""
    votes = np.full((len(points), 3), np.nan)
    rows, columns = np.nonzero(border)
    if len(rows) == 0:
        return votes
    centers = np.stack([columns, rows], 1) + 0.5
    distance = np.linalg.norm(points[:, None] - centers, axis=2)
    nearest = distance.argmin(1)
    near = distance.min(1) < 0.02 * view.face.shape[0]
    row, column = rows[nearest[near]], columns[nearest[near]]
    votes[near] = template_points(head, view.face[row, column], view.barycentric[row, column])
    return votes


def _consensus(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, 478, 3) votes with NaN -> positions (478, 3), spread (478,), number of votes (478,).

    The center is the mean of the votes within 2.5 robust standard deviations of the median.
    """
    valid = np.isfinite(samples[..., 0])
    count = valid.sum(0)
    positions = np.full((POINTS, 3), np.nan)
    spread = np.full(POINTS, np.nan)
    for index in np.flatnonzero(count):
        votes = samples[valid[:, index], index]
        positions[index], _ = robust_center(votes, OUTLIER)
        spread[index] = np.sqrt(((votes - positions[index]) ** 2).sum(1).mean())
    return positions, spread, count


def _snap(head: HeadModel, positions: np.ndarray, index: np.ndarray) -> LandmarkSet:
    """Nearest surface points, each on the part its landmark belongs to."""
    labels = ViewLabels.of_faces(head)
    groups = [
        (MEDIAPIPE_GROUPS["left_iris"], (ViewLabels.LEFT_EYE,)),
        (MEDIAPIPE_GROUPS["right_iris"], (ViewLabels.RIGHT_EYE,)),
        (CORNERS, ViewLabels.LIPS),
        (UPPER_LIPS, (ViewLabels.UPPER_LIP,)),
    ]
    lower = set(MEDIAPIPE_GROUPS["lips_outer"] + MEDIAPIPE_GROUPS["lips_inner"])
    groups.append((tuple(lower - set(UPPER_LIPS) - set(CORNERS)), (ViewLabels.LOWER_LIP,)))
    named = {i for group, _ in groups for i in group}
    groups.append((tuple(set(range(POINTS)) - named), (ViewLabels.SKIN, *ViewLabels.LIPS)))
    face = np.zeros(len(index), dtype=np.int32)
    barycentric = np.zeros((len(index), 3), dtype=np.float32)
    for group, allowed in groups:
        rows = np.flatnonzero(np.isin(index, group))
        candidates = np.flatnonzero(np.isin(labels, allowed))
        found, weights = closest_points(head.template, head.faces[candidates], positions[rows])
        face[rows], barycentric[rows] = candidates[found], weights
    return LandmarkSet(face, barycentric, index.astype(np.int32), head.faces[face])
