"""Report sections on tracking: landmark residuals, refinement, errors against ground truth."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from headsplat.evaluate.report import charts, page
from headsplat.rotations import axis_angle_from_matrix, matrix_from_6d
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_json


def residual_groups(track: Any) -> str:
    """Median landmark residual of each group of landmarks."""
    names = [str(name) for name in track["group_names"]]
    groups = np.nanmedian(track["residual_group"], axis=0)
    order = np.argsort(-np.nan_to_num(groups))
    return page.section(
        "Landmark residual by group",
        charts.bars(
            [(names[i], float(groups[i]), f"{groups[i]:.2f} px") for i in order],
            "median residual of each landmark group",
        ),
    )


def refinement(path: Path | None) -> str:
    """Errors before and after photometric refinement; empty without refinement."""
    verdict = {"mode": "never"} if path is None else read_json(path)
    if verdict["mode"] == "never":
        return ""
    skin, points = verdict["held_out"], verdict["landmarks"]
    rows = [
        ("held-out skin misses, of 255", *(f"{255 * value:.2f}" for value in skin)),
        ("landmarks miss, pixels", *(f"{value:.2f}" for value in points)),
    ]
    note = "The refined track is used." if verdict["taken"] else (
        "It was not better where it had not been fitted: the landmarks' track is used."
    )  # fmt: skip
    return page.section(
        "Track against the images", page.table(("what", "landmarks", "refined"), rows), note
    )


def ground_truth_errors(errors: dict[str, float]) -> str:
    """The errors that `compare` returns."""
    rows = [
        ("head rotation, median", f"{errors['rotation_deg_median']:.2f} degrees"),
        ("head rotation, 95 %", f"{errors['rotation_deg_95']:.2f} degrees"),
        ("head position, median", f"{errors['translation_mm_median']:.1f} mm"),
        ("jaw opening, correlation", f"{errors['jaw_correlation']:.3f}"),
        ("lids, correlation (worse eye)", f"{errors['lids_correlation']:.3f}"),
        ("landmark residual, median", f"{100 * errors['residual_iod_median']:.2f} %"),
    ]
    note = "The built-in clip is rendered, so the track can be compared with the ground truth."
    return page.section("Track against the ground truth", page.table(("what", "value"), rows), note)


def compare(track: dict[str, np.ndarray], ground_truth: dict[str, np.ndarray]) -> dict[str, float]:
    """Errors of a track, arrays as in track.npz, against ground_truth.npz.

    Returns:
        rotation_deg_median, rotation_deg_95, translation_mm_median,
        jaw_correlation (opening angle), lids_correlation (the worse eye), residual_iod_median.

    Raises:
        UserError: the frame ids differ.
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


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    if a.std() < 1e-9 or b.std() < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
