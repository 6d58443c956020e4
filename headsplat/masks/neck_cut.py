"""Segmentation of head, hair and neck without clothes, from matte, image and projected mesh.

The mesh locates the head and the end of the neck, but has neither hair nor collar. These are
segmented by color models: skin from the face, hair from above and around the face, clothes from
below the neck. Where the colors are ambiguous, the distance to the mesh decides.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from headsplat.masks.guided_filter import GuidedFilter
from headsplat.masks.projected_head import HEAD, NECK, ProjectedHead

_LIMIT = 4.0  # nats; bound on the score
# Radius of notches to close, over the head's size (root of its area); the score in nats below which
# a notch stays open; smoothing of the cut over the head's size.
_NOTCH, _UNSURE, _SMOOTH = 0.08, 1.0, 0.01
# Above one half, because mixed pixels at the collar's edge should be cut off.
_MAJORITY = 0.55
# Variance of the guide image below which the guided filter smooths the cut.
_EDGE = 1e-3 * 255.0**2
# Loose strands, with a share of the person's pixels below `_FEW`, use the wider blur `_FAR` (px).
_FAR, _FEW, _TINY = 4.0, 0.02, 1e-6
# Luma varies most within one surface (shadow under the chin), so it has the fewest bins.
_BINS = (12, 32, 32)
# Pixels of a uniform prior over all colors. A small region then says little about any color, and a
# large one rejects the colors that it lacks.
_PRIOR_PIXELS = 300.0


class ColorBins:
    """YCrCb color histogram model of regions of one image.

    Args:
        image: (H, W, 3) uint8 RGB.
    """

    def __init__(self, image: np.ndarray) -> None:
        colors = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb).astype(np.int32)
        bins = [colors[..., c] * _BINS[c] // 256 for c in range(3)]
        self._bin = np.ravel_multi_index(bins, _BINS)

    def log_density(self, region: np.ndarray) -> np.ndarray:
        """Log ratio of each pixel's color density in a region to a uniform density.

        Args:
            region: (H, W) bool.

        Returns:
            (H, W) float32 nats: 0 for an uninformative region, positive for the region's colors,
            down to about -4 for colors that a large region lacks.
        """
        count = int(np.prod(_BINS))
        histogram = np.bincount(self._bin[region], minlength=count).astype(np.float32)
        smooth = gaussian_filter(histogram.reshape(_BINS), 1.0, mode="constant").ravel()
        density = (smooth * count + _PRIOR_PIXELS) / (histogram.sum() + _PRIOR_PIXELS)
        return np.log(density).astype(np.float32)[self._bin]


@dataclass(frozen=True)
class PersonSplit:
    """One frame's parts.

    Attributes:
        score: (H, W) float32, positive in head, hair and neck, with a smooth zero line towards
            clothes; the outline against the background is given by the matte.
        hair: (H, W) bool, hair below the mouth and beside the mesh, connected to the head.
    """

    score: np.ndarray
    hair: np.ndarray


def split_person(image: np.ndarray, alpha: np.ndarray, head: ProjectedHead) -> PersonSplit:
    """Segment head, hair and neck in one frame.

    All images have the same moderate size; a width of 256 is enough, because the cut is smooth.

    Args:
        image: (H, W, 3) uint8 RGB.
        alpha: (H, W) uint8 matte; 0 also where the crop leaves the source image.
        head: the mesh in this frame.
    """
    person = alpha > 127
    core = (head.parts == HEAD) & person
    size = float(np.sqrt(core.sum()))
    if size < 1:
        return PersonSplit(np.full(alpha.shape, -_LIMIT, np.float32), np.zeros_like(person))
    depth, drop = _depth_below_mouth(alpha.shape, head)
    away = cv2.distanceTransform((head.parts == 0).astype(np.uint8), cv2.DIST_L2, 3) / size
    on_neck = head.parts == NECK

    colors = ColorBins(image)
    skin = colors.log_density(head.face & person)
    hair = colors.log_density(person & (depth < -0.5) & ~head.face & (away < 0.6))
    clothes_at = (
        person & ~core & (((depth > 1) & (drop > 0.06 * size)) | ((away > 0.45) & (depth > 0.4)))
    )
    clothes = colors.log_density(clothes_at)

    below = np.clip(depth, 0, 2)
    for_skin = np.where(on_neck, 1.0 - 1.2 * below, -0.5 - 3 * away - 0.5 * below)
    for_hair = -1.5 - 2 * away - below
    as_skin, as_hair = skin - clothes + for_skin, hair - clothes + for_hair
    score = np.maximum(as_skin, as_hair)
    like_hair = person & (head.parts == 0) & (as_hair > np.maximum(as_skin + 1, 0))
    apart = like_hair & ~_connected_hair(like_hair, person & (depth < 0))
    score = np.where(apart, -_LIMIT / 2, score)
    # Nothing below the mesh's rim: the skin of the chest does not move with the head.
    score = np.where(depth > 1, np.minimum(score, 8 * (1 - depth)), score)
    # Above the mouth everything near the mesh is head: hair, ears, glasses, a hat.
    near = _LIMIT - 10 * np.maximum(away - 0.5, 0)
    score = np.where(depth < 0, np.maximum(score, near), score)
    score = np.where(core, _LIMIT, np.clip(score, -_LIMIT, _LIMIT))
    score = _close_notches(np.where(person, score, -_LIMIT), round(_NOTCH * size))
    score = np.where(person, score, 0).astype(np.float32)
    score = GuidedFilter(image, 4, _EDGE)(score)
    inside = _keep_connected(score, alpha > 0, core) > 0
    # Scores near zero are noisy. Filtering the decisions instead makes the cut follow the collar.
    votes = np.where(person, np.where(inside, 1, -1), 0).astype(np.float32)
    inside = GuidedFilter(image, 6, _EDGE)(votes) > 0
    score = _smooth_cut(inside, person, max(_SMOOTH * size, 0.5))
    return PersonSplit(score, like_hair & ~apart & (score > 0) & (depth > 0))


def _depth_below_mouth(
    shape: tuple[int, int], head: ProjectedHead
) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) depth, 0 at the mouth and 1 at the mesh's lower rim; and (H, W) px below the rim."""
    height, width = shape
    x, y = head.boundary.T
    # The rim is a band of several rows of vertices, so its lowest point per strip is used.
    strip = np.round(x / 6)
    strips = np.unique(strip)
    lowest = [y[strip == s].max() for s in strips]
    rim = np.interp(np.arange(width) + 0.5, strips * 6, lowest)[None]
    rows = np.arange(height)[:, None] + 0.5
    return (rows - head.mouth_level) / np.maximum(rim - head.mouth_level, 1), rows - rim


def _connected_hair(hair: np.ndarray, above: np.ndarray) -> np.ndarray:
    """(H, W) bool: hair that is connected to the person above the mouth, unlike a collar."""
    _, labels = cv2.connectedComponents((hair | above).astype(np.uint8), connectivity=4)
    return np.isin(labels, np.unique(labels[above])) & hair


def _close_notches(score: np.ndarray, reach: int) -> np.ndarray:
    """Fill notches by a morphological closing where the colors are ambiguous."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    closed = cv2.morphologyEx((score > 0).astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0
    return np.where(closed & (score > -_UNSURE), np.abs(score), score)


def _smooth_cut(inside: np.ndarray, person: np.ndarray, reach: float) -> np.ndarray:
    """Blurred share of the person's pixels that are inside, minus `_MAJORITY`; (H, W) float32.

    Only the person's pixels count, so that the cut meets the outline at a right angle. Outside the
    outline, where loose strands are, a wider blur is used.
    """
    votes, voters = (mask.astype(np.float32) for mask in (inside & person, person))
    some = cv2.GaussianBlur(voters, (0, 0), reach)
    share = np.where(
        some > _FEW,
        cv2.GaussianBlur(votes, (0, 0), reach) / some.clip(_FEW),
        cv2.GaussianBlur(votes, (0, 0), _FAR) / cv2.GaussianBlur(voters, (0, 0), _FAR).clip(_TINY),
    )
    return share - np.float32(_MAJORITY)


def _keep_connected(score: np.ndarray, visible: np.ndarray, core: np.ndarray) -> np.ndarray:
    """Make regions negative that are not connected to the head, and fill enclosed holes."""
    _, labels = cv2.connectedComponents(((score > 0) & visible).astype(np.uint8), connectivity=4)
    kept = np.unique(labels[core & (score > 0)])
    loose = (labels > 0) & ~np.isin(labels, kept)
    score = np.where(loose, -np.abs(score), score)
    _, labels = cv2.connectedComponents((score <= 0).astype(np.uint8), connectivity=4)
    rim = np.unique(np.r_[labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    enclosed = (labels > 0) & ~np.isin(labels, rim)
    return np.where(enclosed, np.abs(score) + np.float32(1e-3), score)
