"""Foreground color estimation at soft edges of a matte, to avoid halos of the old background.

Foreground and background colors are local weighted averages; the residual of a pixel is split
between them (Forte: Approximate Fast Foreground Color Estimation, ICIP 2021).
"""

import cv2
import numpy as np

# Radius of the local averages over the image width: about the width of a soft edge.
_REACH = 8 / 512
# A pixel's weight in an average is this power of its alpha (or 1 - alpha), against mixed pixels.
_PURITY = 3
# Small weight of every pixel, so that an average exists where no pure pixel is near.
_FAINT = 1e-5


def foreground_colors(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Estimate the foreground colors of an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        alpha: (H, W) uint8 matte of the image.

    Returns:
        (H, W, 3) uint8 RGB: the image where the matte is 0 or 255, the estimate elsewhere.
    """
    rows, columns = np.nonzero((alpha > 0) & (alpha < 255))
    if not len(rows):
        return image
    height, width = alpha.shape
    # The averages are smooth, so they are computed at half the resolution.
    half = (max(width // 2, 1), max(height // 2, 1))
    small = cv2.resize(image, half, interpolation=cv2.INTER_AREA).astype(np.float32)
    share = cv2.resize(alpha, half, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    reach = max(1, round(_REACH * half[0]))

    def average(share: np.ndarray) -> np.ndarray:
        weight = share**_PURITY + _FAINT * share + _FAINT**2
        colors, weights = (
            cv2.resize(cv2.blur(summed, (2 * reach + 1, 2 * reach + 1)), (width, height))
            for summed in (small * weight[..., None], weight)
        )
        return colors[rows, columns] / weights[rows, columns, None]

    front, behind = average(share), average(1 - share)
    cover = alpha[rows, columns].astype(np.float32)[:, None] / 255
    unexplained = image[rows, columns] - cover * front - (1 - cover) * behind
    # Least-squares share of the residual: the smallest change of both colors that explains it.
    front += cover / (cover**2 + (1 - cover) ** 2) * unexplained
    out = image.copy()
    out[rows, columns] = np.rint(np.clip(front, 0, 255))
    return out
