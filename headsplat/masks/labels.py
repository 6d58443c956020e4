"""Class orders of face-parsing networks, and the masks made from their label maps.

Two orders of the same 19 classes are in use. The wrong one confuses hair with background or clothes
with neck, so callers always name the order.
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
    """Head-and-neck mask and mouth mask of a label map.

    Args:
        labels: (H, W) integer class ids.
        order: the class names in the order of their ids: `BISENET` or `CELEBAMASK`.

    Returns:
        Two (H, W) uint8 masks, 0 or 255: head and neck (all but background and clothes), and mouth
        (lips and mouth interior).

    Raises:
        ValueError: an id without a class in `order`.
    """
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < len(order):
        raise ValueError(f"labels: ids {labels.min()}..{labels.max()} for {len(order)} classes")
    neckhead = np.array([0 if name in _NOT_HEAD else 255 for name in order], np.uint8)
    mouth = np.array([255 if name in _MOUTH else 0 for name in order], np.uint8)
    # Unlike indexing, `take` releases Python's lock.
    return np.take(neckhead, labels, mode="clip"), np.take(mouth, labels, mode="clip")
