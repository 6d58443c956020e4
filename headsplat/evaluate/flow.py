"""Temporal error along the motion of the ground truth, by optical flow."""

import cv2
import numpy as np
import torch
from torch import Tensor

# Pixels whose ground truth the flow does not explain to this difference of colors (0..1) are
# occluded or badly tracked, and do not count.
_EXPLAINED = 0.05


def warped_error(
    ground_truth: Tensor,
    previous_ground_truth: Tensor,
    render: Tensor,
    previous_render: Tensor,
    mask: Tensor,
) -> Tensor:
    """Warping error of renders, as Lai et al. 2018 measure the temporal consistency of videos.

    The render before is warped to the present frame by the ground truth's optical flow (OpenCV's
    DIS), and compared with the present render. Arguments are those of `metrics.temporal_error`.

    Returns:
        (B,) mean absolute difference of colors, 0..1, over the head's pixels that the flow
        explains; NaN if it explains none.
    """
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    pictures = (ground_truth, previous_ground_truth, render, previous_render, mask)
    arrays = (np.ascontiguousarray(value.detach().float().cpu().numpy()) for value in pictures)
    errors = [_one(flow, *frame) for frame in zip(*arrays, strict=True)]
    return torch.tensor(errors, dtype=torch.float32)


def _one(
    flow: cv2.DISOpticalFlow,
    ground_truth: np.ndarray,
    previous_ground_truth: np.ndarray,
    render: np.ndarray,
    previous_render: np.ndarray,
    mask: np.ndarray,
) -> float:
    gray = [
        cv2.cvtColor((image * 255).astype(np.uint8), cv2.COLOR_RGB2GRAY)
        for image in (ground_truth, previous_ground_truth)
    ]
    height, width = mask.shape
    # From the present frame to where each pixel was before.
    moved = flow.calc(*gray, None)
    moved[..., 0] += np.arange(width, dtype=np.float32)
    moved[..., 1] += np.arange(height, dtype=np.float32)[:, None]
    before, render_before = (
        cv2.remap(image, moved, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        for image in (previous_ground_truth, previous_render.clip(0, 1))
    )
    counted = (mask > 0) & (np.abs(ground_truth - before).max(-1) < _EXPLAINED)
    if not counted.any():
        return float("nan")
    return float(np.abs(render.clip(0, 1) - render_before)[counted].mean())
