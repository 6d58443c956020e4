"""Errors of the track against the ground truth of the built-in clip."""

import numpy as np
import torch

from headsplat.rotations import axis_angle_from_matrix, matrix_from_6d
from headsplat.runtime.errors import UserError


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    if a.std() < 1e-9 or b.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def compare(track: dict[str, np.ndarray], ground_truth: dict[str, np.ndarray]) -> dict[str, float]:
    """Errors of a track, arrays as in track.npz, against ground truth.npz.

    Returns:
        rotation_deg_median, rotation_deg_95, translation_mm_median,
        jaw_correlation (opening angle), lids_correlation (the worse eye), residual_iod_median.

    Raises:
        UserError: the two are not of the same frames.
    """
    if not np.array_equal(track["ids"], ground_truth["ids"]):
        raise UserError("ground_truth.npz and track.npz hold different frame ids; remake both")
    relative = np.einsum("nij,nkj->nik", track["R"].astype(float), ground_truth["R"].astype(float))
    angle = axis_angle_from_matrix(torch.from_numpy(relative)).norm(dim=-1).rad2deg().numpy()
    jaw = axis_angle_from_matrix(matrix_from_6d(torch.from_numpy(track["jaw"]))).numpy()[:, 0]
    lids = [_correlation(track["eyelids"][:, i], ground_truth["eyelids"][:, i]) for i in (0, 1)]
    offset = np.linalg.norm(track["t"] - ground_truth["t"], axis=1)
    return {
        "rotation_deg_median": float(np.median(angle)),
        "rotation_deg_95": float(np.percentile(angle, 95)),
        "translation_mm_median": float(1000 * np.median(offset)),
        "jaw_correlation": _correlation(jaw, ground_truth["jaw"][:, 0]),
        "lids_correlation": min(lids),
        "residual_iod_median": float(np.nanmedian(track["residual_iod"])),
    }
