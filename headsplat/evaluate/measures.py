"""Measures of a batch of held-out frames: one number for each frame, NaN where there is none."""

from collections.abc import Callable

import numpy as np
import torch

from headsplat.evaluate.eyes import box_masks
from headsplat.evaluate.flow import warped_error
from headsplat.evaluate.pairs import Batch
from headsplat.metrics import (
    frame_metrics,
    person_metrics,
    psnr_of,
    static_flicker,
    temporal_error,
)
from headsplat.train.lpips import Lpips

# Measures of a frame and the one before it: (ground truth, the one before, render, the one before,
# head mask) -> (B,).
PAIRS: dict[str, Callable[..., torch.Tensor]] = {
    "temporal_error": temporal_error,
    "static_flicker": static_flicker,
    "warped_error": warped_error,
}


def measures(
    previous: Batch | None, batch: Batch, eyes: torch.Tensor, lpips: Lpips | None
) -> dict[str, list[float]]:
    """Metrics of a batch, one value per frame.

    Args:
        previous: batch whose last frame comes before the batch's first, or None.
        batch: the frames.
        eyes: (B, 2, 4) boxes around their eyeballs, see `eye_boxes`.
        lpips: LPIPS, or None without its weights.
    """
    metrics = frame_metrics(batch.ground_truth, batch.render, batch.mask)
    if batch.person is not None:
        person = batch.person
        metrics |= person_metrics(person.ground_truth, person.render, person.mask, batch.mask)
    height, width = batch.mask.shape[1:]
    regions = {"mouth": batch.mouth, "eyes": box_masks(eyes.to(batch.mask.device), width, height)}
    metrics |= {
        f"psnr_{name}": psnr_of(batch.ground_truth, batch.render, region)
        for name, region in regions.items()
    }
    values = {name: value.tolist() for name, value in metrics.items()}
    if lpips is not None:
        values["lpips_head"] = _lpips_head(lpips, batch)
    return values | _pairs(previous, batch)


@torch.no_grad()
def _lpips_head(lpips: Lpips, batch: Batch) -> list[float]:
    """LPIPS per frame on black outside the head; one frame at a time to save memory."""
    mask = batch.mask[..., None]
    pairs = zip((batch.render * mask).split(1), (batch.ground_truth * mask).split(1), strict=True)
    return [lpips(render, ground_truth).item() for render, ground_truth in pairs]


def _pairs(previous: Batch | None, batch: Batch) -> dict[str, list[float]]:
    """`PAIRS` of the batch; NaN where the frame before it is not held out."""
    ground_truth, render, ids = batch.ground_truth, batch.render, batch.ids
    if previous is not None:
        ground_truth = torch.cat([previous.ground_truth[-1:], ground_truth])
        render = torch.cat([previous.render[-1:], render])
        ids = [previous.ids[-1], *ids]
    first = [] if previous is not None else [float("nan")]
    if len(ids) < 2:
        return dict.fromkeys(PAIRS, first)
    mask = batch.mask if previous is not None else batch.mask[1:]
    consecutive = np.diff(ids) == 1
    found = {}
    for name, measure in PAIRS.items():
        error = measure(ground_truth[1:], ground_truth[:-1], render[1:], render[:-1], mask)
        found[name] = first + np.where(consecutive, error.cpu().numpy(), np.nan).tolist()
    return found


def means(arrays: dict[str, np.ndarray], closed: np.ndarray) -> dict[str, float]:
    """Mean of each measure over the frames that have it; a measure that none has is left out.

    The eyes are averaged once more over frames with shut eyes and over the others.

    Args:
        arrays: measure -> (N,).
        closed: (N,) bool, whether a lid is more than half shut.
    """
    groups = dict(arrays)
    if "psnr_eyes" in arrays:
        eyes = arrays["psnr_eyes"]
        groups |= {"psnr_eyes_closed": eyes[closed], "psnr_eyes_open": eyes[~closed]}
    known = {name: value[np.isfinite(value)] for name, value in groups.items()}
    return {
        name: float(value.astype(np.float64).mean()) for name, value in known.items() if len(value)
    }
