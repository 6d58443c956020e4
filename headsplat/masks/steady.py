"""Mattes that do not flicker: robust averages over earlier frames, aligned by optical flow.

What a matte shows in one frame and in no neighbor, such as a spike at a shoulder, is no part of the
subject. Earlier mattes are moved along the dense flow between the images. A matte is then pulled
to the median over those that still show the same colors; where the scene changed, it stays.
"""

from functools import cache

import cv2
import numpy as np

Array = np.ndarray

_FLOW_SIZE = 256  # px, width of the images that the flow is computed on
# Weight of an earlier frame by its difference in brightness (0..255, mean over a few pixels). It is
# 0.6 at 4, which is above the noise of compressed video and below the step of a moving edge.
SAME_COLOR = np.exp(-0.5 * (np.arange(256, dtype=np.float32) / 4.0) ** 2)
# An aligned frame whose weight is above one over this counts fully.
_SURE = 1.5
# Motion between two frames, in px of the flow's images, that counts as fast.
_FAST = 1.0


class SteadyMattes:
    """Temporal filter of the mattes of a clip, which come in order.

    Only the last `window` frames count, so the result does not depend on the division into chunks
    when as many frames warm it up.

    Args:
        window: number of earlier frames; 0 leaves the mattes as they are.
    """

    def __init__(self, window: int) -> None:
        self._window = window
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._gray: Array | None = None
        # Aligned with the last frame, one per channel, newest first.
        self._mattes = self._grays = np.empty((0, 0, 0), np.uint8)

    def __call__(self, image: Array, matte: Array, decided: Array | None = None) -> Array:
        """Steady the next frame.

        Args:
            image: (H, W, 3) uint8 RGB.
            matte: (H, W) uint8 of the same frame.
            decided: (H, W) float32, how far a pixel needs no earlier frames: 1 leaves it.

        Returns:
            (H, W) uint8.
        """
        if not self._window:
            return matte
        gray = _reduced(image)
        known = self._gray is not None and self._mattes.shape[:2] == matte.shape
        if known:
            still = self._align(gray)
            steady = self._filtered(gray, matte, still)
            self._mattes = cv2.merge([matte, *cv2.split(self._mattes)[: self._window - 1]])
            self._grays = cv2.merge([gray, *cv2.split(self._grays)[: self._window - 1]])
        else:
            steady, self._mattes, self._grays = matte, matte[..., None], gray[..., None]
        self._gray = gray
        if decided is not None and steady is not matte:
            at = np.flatnonzero(cv2.compare(steady, matte, cv2.CMP_NE))
            own, share = (plane.reshape(-1)[at] for plane in (matte, decided))
            pulled = steady.reshape(-1)[at].astype(np.float32)
            steady.reshape(-1)[at] = np.rint(pulled + share * (own - pulled))
        return steady

    def _align(self, gray: Array) -> Array:
        """Move everything that is kept from the last frame onto a new one.

        Returns:
            (h, w) float32: 1 where nothing moves, 0 where it moves fast. Flow is least exact there,
            and flicker is least seen.
        """
        flow = self._flow.calc(gray, self._gray, None)
        self._grays = _moved(self._grays, flow)
        height, width = self._mattes.shape[:2]
        scale = np.float32([width / gray.shape[1], height / gray.shape[0]])
        self._mattes = _moved(self._mattes, cv2.resize(flow * scale, (width, height)))
        return np.exp(np.square(flow).sum(2) * np.float32(-0.5 / _FAST**2))

    def _filtered(self, gray: Array, matte: Array, still: Array) -> Array:
        """A matte, changed where it differs from the earlier ones."""
        low = high = matte
        for plane in cv2.split(self._mattes):
            low, high = cv2.min(low, plane), cv2.max(high, plane)
        at = np.flatnonzero(cv2.compare(low, high, cv2.CMP_NE))
        own = matte.reshape(-1)[at].astype(np.float32)
        change = [cv2.blur(cv2.absdiff(gray, g), (3, 3)) for g in cv2.split(self._grays)]
        rows, columns = np.divmod(at, matte.shape[1])
        near = rows * gray.shape[0] // matte.shape[0] * gray.shape[1]
        near += columns * gray.shape[1] // matte.shape[1]
        votes, still = [], _SURE * still.reshape(-1)[near]
        past = self._mattes.reshape(-1, len(change))[at].T - own
        for k, plane in enumerate(change):
            weight = np.minimum(still * SAME_COLOR[plane.reshape(-1)[near]], 1)
            votes.append(own + weight * past[k])
        steady = matte.copy()
        steady.reshape(-1)[at] = np.rint(_robust(own, np.stack(votes)))
        return steady


def _robust(own: Array, past: Array) -> Array:
    """Mean of two robust values (n,): the median, and `own` in the range of the earlier votes.

    Neither lets through what one frame alone shows. The median flickers less; the range keeps thin
    hair that some earlier frames show.

    Args:
        own: (n,) alpha of a frame.
        past: (k, n) alpha of earlier frames.
    """
    median = np.median(np.concatenate([own[None], past]), 0)
    return 0.5 * (median + own.clip(past.min(0), past.max(0)))


def _reduced(image: Array) -> Array:
    """(h, w) uint8 brightness of an image, `_FLOW_SIZE` wide."""
    height = max(16, round(_FLOW_SIZE * image.shape[0] / image.shape[1]))
    small = cv2.resize(image, (_FLOW_SIZE, height), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)


def _moved(planes: Array, flow: Array) -> Array:
    """Planes (H, W, k) uint8, each sampled where a flow (H, W, 2) points to."""
    height, width = planes.shape[:2]
    moved = cv2.remap(
        planes, flow + _grid(width, height), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return moved.reshape(height, width, -1)


@cache
def _grid(width: int, height: int) -> Array:
    """(height, width, 2) float32: x and y of each pixel."""
    return np.dstack(np.meshgrid(np.arange(width), np.arange(height))).astype(np.float32)
