"""Head, hair and neck without clothes, from the matte, the image and the projected mesh.

The mesh says where the head is and about where the neck ends; it knows neither the hair nor the
collar. Those are told apart by color: skin as the face shows it, hair as it lies above and around
the face, clothes as they lie below the neck. Where colors do not decide, distance to the mesh
does.
"""

import cv2
import numpy as np

from headsplat.masks.color_model import ColorBins
from headsplat.masks.projected_head import HEAD, NECK, ProjectedHead

_LIMIT = 4.0
# Lengths in units of the head's size, the root of its area: notches up to twice this width are
# closed where colors say this little against it (nats), and the cut is as smooth as the last.
_NOTCH, _UNSURE, _SMOOTH = 0.08, 1.0, 0.01
# A little more than half: the collar's edge is mixed, and rather cut off.
_MAJORITY = 0.55
# Variance of the image across which the cut is smooth.
_EDGE = 1e-3 * 255.0**2
# The wider surrounding, in pixels, of strands with so few of the person's pixels close to them.
_FAR, _FEW, _TINY = 4.0, 0.02, 1e-6


def cut_neckhead(image: np.ndarray, alpha: np.ndarray, head: ProjectedHead) -> np.ndarray:
    """Pixels of head, hair and neck.

    All three images have the same, moderate size (256 wide is enough; the cut is smooth).

    Args:
        image: (H, W, 3) uint8 RGB.
        alpha: (H, W) uint8 matte; 0 also where the crop leaves the source image.
        head: the mesh in this frame.

    Returns:
        (H, W) float32, positive inside; its zero line is the cut, and smooth. It says nothing
        about the outline against the background: that is the matte's.
    """
    person = alpha > 127
    core = (head.parts == HEAD) & person
    size = float(np.sqrt(core.sum()))
    if size < 1:
        return np.full(alpha.shape, -_LIMIT, np.float32)
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
    apart = like_hair & ~_hangs(like_hair, person & (depth < 0))
    score = np.where(apart, -_LIMIT / 2, score)
    # Nothing below the mesh's rim, whatever its color: skin of the chest does not follow the head.
    score = np.where(depth > 1, np.minimum(score, 8 * (1 - depth)), score)
    # Above the mouth all that is near is head: hair, ears, glasses, a hat.
    near = _LIMIT - 10 * np.maximum(away - 0.5, 0)
    score = np.where(depth < 0, np.maximum(score, near), score)
    score = np.where(core, _LIMIT, np.clip(score, -_LIMIT, _LIMIT))
    score = _closed(np.where(person, score, -_LIMIT), round(_NOTCH * size))
    score = np.where(person, score, 0).astype(np.float32)
    score = cv2.ximgproc.guidedFilter(image, score, radius=4, eps=_EDGE)
    inside = _connected(score, alpha > 0, core) > 0
    # Scores near zero are noise: decided first, the cut follows the collar's edge instead.
    votes = np.where(person, np.where(inside, 1, -1), 0).astype(np.float32)
    inside = cv2.ximgproc.guidedFilter(image, votes, radius=6, eps=_EDGE) > 0
    return _smooth(inside, person, max(_SMOOTH * size, 0.5))


def _depth_below_mouth(
    shape: tuple[int, int], head: ProjectedHead
) -> tuple[np.ndarray, np.ndarray]:
    """Height of each pixel: 0 at the mouth, 1 at the mesh's lower rim; and pixels below the rim."""
    height, width = shape
    x, y = head.boundary.T
    # The rim is a band of several rows of vertices: its lowest point in each strip counts.
    strip = np.round(x / 6)
    strips = np.unique(strip)
    lowest = [y[strip == s].max() for s in strips]
    rim = np.interp(np.arange(width) + 0.5, strips * 6, lowest)[None]
    rows = np.arange(height)[:, None] + 0.5
    return (rows - head.mouth_level) / np.maximum(rim - head.mouth_level, 1), rows - rim


def _hangs(hair: np.ndarray, above: np.ndarray) -> np.ndarray:
    """(H, W) bool: hair that joins what is above the mouth; a collar of its color lies apart."""
    _, labels = cv2.connectedComponents((hair | above).astype(np.uint8), connectivity=4)
    return np.isin(labels, np.unique(labels[above])) & hair


def _closed(score: np.ndarray, reach: int) -> np.ndarray:
    """Fill notches where the colors are unsure."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    closed = cv2.morphologyEx((score > 0).astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0
    return np.where(closed & (score > -_UNSURE), np.abs(score), score)


def _smooth(inside: np.ndarray, person: np.ndarray, reach: float) -> np.ndarray:
    """Share of the person's pixels around each that are inside, less a majority.

    Only the person's count, so that the cut runs straight into the outline and never rounds it.
    Beyond the outline, where loose strands are, a wider surrounding decides.
    """
    votes, voters = (mask.astype(np.float32) for mask in (inside & person, person))
    some = cv2.GaussianBlur(voters, (0, 0), reach)
    share = np.where(
        some > _FEW,
        cv2.GaussianBlur(votes, (0, 0), reach) / some.clip(_FEW),
        cv2.GaussianBlur(votes, (0, 0), _FAR) / cv2.GaussianBlur(voters, (0, 0), _FAR).clip(_TINY),
    )
    return share - np.float32(_MAJORITY)


def _connected(score: np.ndarray, visible: np.ndarray, core: np.ndarray) -> np.ndarray:
    """Turn down what is not connected to the head, and fill what the head encloses."""
    _, labels = cv2.connectedComponents(((score > 0) & visible).astype(np.uint8), connectivity=4)
    kept = np.unique(labels[core & (score > 0)])
    loose = (labels > 0) & ~np.isin(labels, kept)
    score = np.where(loose, -np.abs(score), score)
    _, labels = cv2.connectedComponents((score <= 0).astype(np.uint8), connectivity=4)
    rim = np.unique(np.r_[labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    enclosed = (labels > 0) & ~np.isin(labels, rim)
    return np.where(enclosed, np.abs(score) + np.float32(1e-3), score)
