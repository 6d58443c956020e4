"""The subject's own color where a matte is soft: a half-covered pixel still shows its background.

Composing such pixels elsewhere drags the old background along as a halo. The colors of both sides
are local averages, and what they leave unexplained in a pixel is shared out between them
(Forte: Approximate Fast Foreground Color Estimation, 2021).
"""

import cv2
import numpy as np

# Reach of the local averages, of the image's width: about the width of a soft edge.
_REACH = 8 / 512
# A pixel's weight in a side's average is this power of its share, so mixed pixels hardly count.
_PURITY = 3
# Every pixel counts at least this much, so that an average exists where no pure pixel is near.
_FAINT = 1e-5


def foreground_colors(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Colors of the subject without what shines through from behind.

    Args:
        image: (H, W, 3) uint8 RGB.
        alpha: (H, W) uint8 matte of the image.

    Returns:
        (H, W, 3) uint8: the image where the matte is 0 or 255, the estimate where it is between.
    """
    rows, columns = np.nonzero((alpha > 0) & (alpha < 255))
    if not len(rows):
        return image
    height, width = alpha.shape
    # The averages are smooth: half the size is enough for them.
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
    # The part of it that is the subject's: the smallest change of both colors that explains it.
    front += cover / (cover**2 + (1 - cover) ** 2) * unexplained
    out = image.copy()
    out[rows, columns] = np.rint(np.clip(front, 0, 255))
    return out
