"""Specks of a matte: islands and holes too small to be part of a subject."""

import cv2
import numpy as np

# Share of the image below which a region is a speck (60 pixels at 512). Compression and texture
# leave such regions; a gap between arm and body, or below loose hair, is larger.
_SPECK = 60 / 512**2
# Values this close to 0 or 255 count as 0 or 255.
_TRACE = 5


def without_specks(matte: np.ndarray) -> np.ndarray:
    """Clear small islands and fill small holes that the subject encloses.

    Args:
        matte: (H, W) uint8.

    Returns:
        (H, W) uint8: a copy with 0 in the islands and 255 in the holes.
    """
    small = _SPECK * matte.size
    matte = matte.copy()
    outlines, nesting = _outlines(matte > _TRACE)
    islands = [
        outline
        for outline, (*_, parent) in zip(outlines, nesting, strict=True)
        if parent < 0 and _pixels(outline, len(outline)) < small
    ]
    cv2.drawContours(matte, islands, -1, 0, cv2.FILLED)
    # A hole's outline lies on the pixels around it, which are not its own.
    outlines, nesting = _outlines(matte >= 255 - _TRACE)
    holes = [
        outline
        for outline, (*_, parent) in zip(outlines, nesting, strict=True)
        if parent >= 0 and _pixels(outline, 0) < small
    ]
    cv2.drawContours(matte, holes, -1, 255, cv2.FILLED)
    return matte


def _outlines(mask: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Outlines (n, 1, 2) of regions and of their holes, and (m, 4) nesting, the parent last."""
    outlines, nesting = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return list(outlines), np.empty((0, 4), int) if nesting is None else nesting[0]


def _pixels(outline: np.ndarray, own: int) -> float:
    """Pixels inside an outline by Pick's theorem, and `own` of those that it runs along."""
    return cv2.contourArea(outline) - len(outline) / 2 + 1 + own
