"""Rank stages by how far their metrics miss their goals."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class StageHealth:
    """Metric of one stage: `strain` is 1 at the goal and larger if worse."""

    stage: str
    measure: str
    strain: float
    advice: str


def stage_health(
    usable_share: float,
    residual_iod: float | None,
    train_psnr: float,
    test_psnr: float,
    outside_share: float,
) -> list[StageHealth]:
    """Strain of every stage, worst first.

    Args:
        usable_share: share of usable frames of the clip.
        residual_iod: median landmark residual over the inter-ocular distance, or None where no
            landmarks are known.
        train_psnr: dB on a sample of training frames.
        test_psnr: dB on held-out frames.
        outside_share: share of held-out frames with a pose or code outside the trained range.
    """
    gap = max(train_psnr - test_psnr, 0.0)
    stages = [
        StageHealth(
            "detection",
            f"{100 * usable_share:.0f} % of the frames are usable (goal 95 %)",
            (1 - usable_share) / 0.05,
            "keep one face in sight, well lit and not cut by the image's edge",
        ),
        StageHealth(
            "training",
            f"{train_psnr:.1f} dB on the training frames themselves (goal 31 dB)",
            10 ** ((31 - train_psnr) / 10),
            "more steps, more Gaussians, or a better track",
        ),
        StageHealth(
            "generalization",
            f"held-out frames lose {gap:.1f} dB against training frames (goal 2 dB)",
            gap / 2,
            "record more varied poses and expressions",
        ),
        StageHealth(
            "coverage",
            f"{100 * outside_share:.0f} % of held-out frames leave the trained range (goal 10 %)",
            outside_share / 0.1,
            "record more varied poses and expressions",
        ),
    ]
    if residual_iod is not None:
        measure = (
            f"median landmark residual {100 * residual_iod:.2f} % of the inter-ocular distance "
            "(goal 1.2 %)"
        )
        advice = "look at work/<subject>/track/overlay.mp4"
        stages.append(StageHealth("tracking", measure, residual_iod / 0.012, advice))
    return sorted(stages, key=lambda stage: -stage.strain)


def outside_share(values: np.ndarray, train: np.ndarray, test: np.ndarray) -> float:
    """Share of test rows with any column beyond the training rows' range by 10 % of its width.

    Args:
        values: (N, C) codes or angles of all frames.
        train: (N,) bool.
        test: (N,) bool.
    """
    low, high = values[train].min(0), values[train].max(0)
    slack = 0.1 * (high - low) + 1e-6
    beyond = (values[test] < low - slack) | (values[test] > high + slack)
    return float(beyond.any(1).mean())
