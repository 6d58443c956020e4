"""Color guided filter: smooths an image, but not across the edges of another one.

He, Sun, Tang: Guided Image Filtering, TPAMI 2013; at a lower resolution: He, Sun: Fast Guided
Filter, 2015. In each window the result is a linear function of the guide's three colors, fitted to
the input by ridge regression; a pixel averages the functions of all windows that contain it. Only
OpenCV's main modules are used. The results are those of its contrib module `ximgproc`.
"""

from collections.abc import Sequence

import cv2
import numpy as np

Array = np.ndarray


class GuidedFilter:
    """A filter for one guide, which may be used for several inputs.

    Args:
        guide: (H, W, 3) uint8.
        radius: of a window, in pixels of the reduced guide.
        edge: variance of the guide, in squared steps of its 256, below which it is smoothed.
        scale: size of the reduced guide on which the functions are fitted, over the guide's.
    """

    def __init__(self, guide: Array, radius: int, edge: float, scale: float = 1.0) -> None:
        # Planes are contiguous, because arithmetic on interleaved colors is several times slower.
        self._guide = cv2.split(guide.astype(np.float32))
        self._reduced = scale != 1
        self._colors = [self._reduce(plane, scale) for plane in self._guide]
        self._window = (2 * radius + 1, 2 * radius + 1)
        self._means = self._average(self._colors)
        pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
        products = self._average([self._colors[i] * self._colors[k] for i, k in pairs])
        for product, (i, k) in zip(products, pairs, strict=True):
            product -= self._means[i] * self._means[k]
            if i == k:
                product += np.float32(edge)
        # The inverse of the symmetric covariance, by cofactors.
        rr, rg, rb, gg, gb, bb = products
        first = gg * bb - gb * gb, rb * gb - rg * bb, rg * gb - rb * gg
        others = rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg
        share = 1 / (rr * first[0] + rg * first[1] + rb * first[2])
        self._inverse = [np.multiply(part, share, out=part) for part in (*first, *others)]

    def __call__(self, image: Array) -> Array:
        """Filter an image.

        Args:
            image: (H, W) float32 of the guide's size.

        Returns:
            (H, W) float32.
        """
        height, width = self._colors[0].shape
        small = image
        if self._reduced:
            small = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        mean, *products = self._average([small, *(small * color for color in self._colors)])
        for product, color in zip(products, self._means, strict=True):
            product -= mean * color
        r, g, b = products
        rr, rg, rb, gg, gb, bb = self._inverse
        slopes = rr * r + rg * g + rb * b, rg * r + gg * g + gb * b, rb * r + gb * g + bb * b
        for slope, color in zip(slopes, self._means, strict=True):
            mean -= slope * color
        out, *slopes = self._average([mean, *slopes])
        if self._reduced:
            size = image.shape[1], image.shape[0]
            out, *slopes = (cv2.resize(p, size, interpolation=cv2.INTER_LINEAR)
                            for p in (out, *slopes))  # fmt: skip
        for slope, color in zip(slopes, self._guide, strict=True):
            out += np.multiply(slope, color, out=slope)
        return out

    def _reduce(self, plane: Array, scale: float) -> Array:
        if not self._reduced:
            return plane
        size = max(int(plane.shape[1] * scale), 1), max(int(plane.shape[0] * scale), 1)
        return cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)

    def _average(self, planes: Sequence[Array]) -> list[Array]:
        return [cv2.blur(p, self._window, borderType=cv2.BORDER_REFLECT) for p in planes]
