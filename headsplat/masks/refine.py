"""Refinement of coarse person masks to mattes: subject selection, guided filter, small regions."""

import cv2
import numpy as np

from headsplat.masks.guided_filter import GuidedFilter

# Variance of the guide image, relative to white squared, below which the filter smooths. It is just
# below the contrast of hair against a wall of equal brightness.
_EDGE_CONTRAST = 1e-4
# Person masks are about 0.02 in the background and about 0.98 inside. Values are stretched so that
# these limits become exactly 0 and 1.
_CLEAR, _SOLID = 0.15, 0.85
# Limits of the stretch between the two passes, and after the second one against its ringing.
_DECIDED = 0.3, 0.7
_FINAL = 0.1, 0.9
# Filter radius over the edge radius, because two passes reach further than one.
_RADIUS_SHARE = 0.75
_REFERENCE_SIZE = 512
# Share of the image below which a region is removed (60 pixels at 512). Compression and texture
# cause such regions; a gap between arm and body, or below loose hair, is larger.
_SMALL_REGION = 60 / 512**2
# Widths, over the head's, of rows where shoulders begin and from which on there is no loose hair.
_SHOULDERS = 1.3, 1.6
# Half the width below which a part of the shoulders is a spike, over the image width.
_THIN = 5 / 512
# Width up to which something soft is hair, alpha of something solid, and distances from it at which
# something soft begins to be and is no part of the subject, over the image width.
_HAIR, _WHOLE, _TUFT = 7 / 512, 0.9, (6 / 512, 12 / 512)
# Values this close to 0 or 255 count as 0 or 255.
_TRACE = 5


def keep_subject(coarse: np.ndarray) -> np.ndarray:
    """Clear everything but the central connected component, such as bystanders at the border.

    Args:
        coarse: (H, W) float32 person probability.

    Returns:
        (H, W) float32: a copy that is 0 outside one connected component of `coarse > 0.1`. It is
        the component with the most mass near the center, because the crop is centered on the
        subject.
    """
    count, labels = cv2.connectedComponents((coarse > 0.1).astype(np.uint8), connectivity=8)
    if count <= 2:
        return coarse.copy()
    return np.where(labels == central_component(labels, count, coarse), coarse, np.float32(0))


def central_component(labels: np.ndarray, count: int, coarse: np.ndarray) -> int:
    """Label of the component with the most mass near the center of the image.

    Args:
        labels: (H, W) int32 component labels, 0 for none.
        count: number of labels, 0 included.
        coarse: (H, W) float32 mass.
    """
    height, width = coarse.shape
    y = (np.arange(height, dtype=np.float32) + 0.5) / height - 0.5
    x = (np.arange(width, dtype=np.float32) + 0.5) / width - 0.5
    nearness = np.exp(-8 * (x[None] ** 2 + y[:, None] ** 2))
    mass = np.bincount(labels.ravel(), (coarse * nearness).ravel(), minlength=count)
    mass[0] = 0
    return int(mass.argmax())


def refine_edges(image: np.ndarray, coarse: np.ndarray, radius: float) -> np.ndarray:
    """Align a coarse mask with image edges by two passes of a guided filter.

    The first pass finds the edge within the mask's uncertainty, the second one follows it. A single
    pass leaves a haze over the background, as wide as the radius.

    Args:
        image: (H, W, 3) uint8 RGB.
        coarse: (h, w) float32 person probability of the same window at any resolution.
        radius: radius of the edge search in px of an image 512 wide; 0 only stretches the mask.

    Returns:
        (H, W) float32 in [0, 1]: exactly 0 in the background and 1 inside, with fractions only
        within `radius` of the coarse mask's border.
    """
    height, width = image.shape[:2]
    if round(radius * width / _REFERENCE_SIZE) == 0:
        full = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        return _stretch_contrast(full, _CLEAR, _SOLID)
    half = (max(width // 2, 1), max(height // 2, 1))
    guide = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
    mask = cv2.resize(coarse, half, interpolation=cv2.INTER_CUBIC)
    reach = max(1, round(radius * half[0] / _REFERENCE_SIZE))
    filter_radius = max(1, round(2 * _RADIUS_SHARE * reach))
    guided = GuidedFilter(guide, filter_radius, _EDGE_CONTRAST * 255.0**2)
    edges = guided(_stretch_contrast(guided(mask), *_DECIDED))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    inside = cv2.erode((mask > _SOLID).astype(np.uint8), kernel) > 0
    reachable = cv2.dilate((mask > _CLEAR).astype(np.uint8), kernel)
    edges = np.where(inside, np.float32(1), _stretch_contrast(edges, *_FINAL) * reachable)
    return cv2.resize(edges, (width, height), interpolation=cv2.INTER_LINEAR)


def _stretch_contrast(mask: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map `low` to 0 and `high` to 1 linearly, and clip; (H, W) float32."""
    return np.clip((mask - np.float32(low)) * np.float32(1 / (high - low)), 0, 1)


def above_shoulders(body: np.ndarray) -> np.ndarray:
    """Weight of each row: 1 at the head, 0 from the shoulders on. They have no loose hair.

    Shoulders are the first rows that are much wider than the head, whose width is that of the
    upper third of the body.

    Args:
        body: (H, W) bool or uint8, not 0 for the subject.

    Returns:
        (H,) float32.
    """
    widths = np.count_nonzero(body, 1).astype(np.float32)
    filled = np.flatnonzero(widths)
    if not len(filled):
        return widths
    head = np.median(widths[filled[0] : filled[0] + len(filled) // 3 + 1])
    low, high = _SHOULDERS
    wide = (high - widths / max(head, 1)) / (high - low)
    return np.minimum.accumulate(wide.clip(0, 1))


def trim_shoulders(matte: np.ndarray) -> np.ndarray:
    """Remove thin parts from the shoulders, by a morphological opening. They have no hair.

    Args:
        matte: (H, W) uint8.

    Returns:
        (H, W) uint8, nowhere above `matte`; equal to it above the shoulders.
    """
    keep = above_shoulders(matte > 127)
    first = int(np.argmax(keep < 1)) if (keep < 1).any() else len(keep)
    side = 2 * max(1, round(_THIN * matte.shape[1])) + 1
    margin = max(first - side, 0)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    opened = cv2.morphologyEx(matte[margin:], cv2.MORPH_OPEN, kernel)[first - margin :]
    share = keep[first:, None]
    trimmed = matte.copy()
    trimmed[first:] = np.rint(opened + share * (matte[first:] - opened.astype(np.float32)))
    return trimmed


def remove_tufts(matte: np.ndarray) -> np.ndarray:
    """Remove what is soft and wider than hair, away from all that is solid.

    Networks take a background out of focus for hair where it has the hair's color.

    Args:
        matte: (H, W) uint8.

    Returns:
        (H, W) uint8, nowhere above `matte`.
    """
    width = matte.shape[1]
    side = 2 * max(1, round(_HAIR * width / 2)) + 1
    kernel = np.ones((side, side), np.uint8)
    wide = cv2.morphologyEx(matte, cv2.MORPH_OPEN, kernel)
    solid = (wide > _WHOLE * 255).astype(np.uint8)
    away = cv2.distanceTransform(1 - solid, cv2.DIST_L2, 3) * np.float32(1 / width)
    near, far = _TUFT
    share = ((away - near) * np.float32(1 / (far - near))).clip(0, 1)
    return cv2.subtract(matte, np.rint(share * wide).astype(np.uint8))


def remove_small_regions(matte: np.ndarray) -> np.ndarray:
    """Clear small isolated regions and fill small holes inside the subject.

    Args:
        matte: (H, W) uint8.

    Returns:
        (H, W) uint8: a copy with 0 in the regions and 255 in the holes.
    """
    small = _SMALL_REGION * matte.size
    matte = matte.copy()
    outlines, nesting = _outlines(matte > _TRACE)
    islands = [
        outline
        for outline, (*_, parent) in zip(outlines, nesting, strict=True)
        if parent < 0 and _pixels(outline, len(outline)) < small
    ]
    cv2.drawContours(matte, islands, -1, 0, cv2.FILLED)
    # A hole's outline runs along the surrounding pixels, which do not belong to the hole.
    outlines, nesting = _outlines(matte >= 255 - _TRACE)
    holes = [
        outline
        for outline, (*_, parent) in zip(outlines, nesting, strict=True)
        if parent >= 0 and _pixels(outline, 0) < small
    ]
    cv2.drawContours(matte, holes, -1, 255, cv2.FILLED)
    return matte


def _outlines(mask: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Outlines (n, 1, 2) of regions and holes, and (m, 4) OpenCV hierarchy (parent last)."""
    outlines, nesting = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return list(outlines), np.empty((0, 4), int) if nesting is None else nesting[0]


def _pixels(outline: np.ndarray, own: int) -> float:
    """Number of pixels inside an outline (Pick's theorem), plus `own` pixels on the outline."""
    return cv2.contourArea(outline) - len(outline) / 2 + 1 + own
