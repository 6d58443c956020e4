"""Classes of face-parsing networks, and the two masks made from a label map.

Two orders of the same 19 classes are in use, and a map read in the wrong one puts the hair into
the background or the clothes into the neck; so an order is always named.
"""

import numpy as np

# face-parsing.PyTorch's BiSeNet (79999_iter.pth).
BISENET = (
    "background", "skin", "left_brow", "right_brow", "left_eye", "right_eye", "glasses", "left_ear",
    "right_ear", "earring", "nose", "mouth", "upper_lip", "lower_lip", "neck", "necklace", "cloth",
    "hair", "hat",
)  # fmt: skip
# The order of CelebAMask-HQ's own table.
CELEBAMASK = (
    "background", "skin", "nose", "glasses", "left_eye", "right_eye", "left_brow", "right_brow",
    "left_ear", "right_ear", "mouth", "upper_lip", "lower_lip", "hair", "hat", "earring",
    "necklace", "neck", "cloth",
)  # fmt: skip
_MOUTH = ("mouth", "upper_lip", "lower_lip")
_NOT_HEAD = ("background", "cloth")


def masks_from_labels(labels: np.ndarray, order: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Masks of a label map.

    Args:
        labels: (H, W) integer class ids.
        order: the class names in the order of their ids: `BISENET` or `CELEBAMASK`.

    Returns:
        neckhead and mouth, (H, W) uint8, 0 or 255: all but background and clothes; lips and
        mouth interior.

    Raises:
        ValueError: an id beyond the order's classes.
    """
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < len(order):
        raise ValueError(f"labels: ids {labels.min()}..{labels.max()} for {len(order)} classes")
    neckhead = np.array([0 if name in _NOT_HEAD else 255 for name in order], np.uint8)
    mouth = np.array([255 if name in _MOUTH else 0 for name in order], np.uint8)
    # Unlike indexing, `take` lets other threads run.
    return np.take(neckhead, labels, mode="clip"), np.take(mouth, labels, mode="clip")
