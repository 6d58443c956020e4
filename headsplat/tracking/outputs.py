"""Packed track from the solver's state, with residuals and a measure of jitter."""

import numpy as np
import torch
from torch import Tensor

from headsplat.heads.model import HeadModel
from headsplat.rotations import axis_angle_from_matrix, matrix_from_axis_angle, matrix_to_6d
from headsplat.track import Track, head_moves
from headsplat.tracking.basis import LandmarkBasis
from headsplat.tracking.intrinsics import Intrinsics
from headsplat.tracking.layout import Layout, State, eye_vectors
from headsplat.tracking.observations import Observations
from headsplat.tracking.terms import Terms

# Frames evaluated at a time.
BATCH = 256
# Residuals up to this multiple of the clip's median do not lower a frame's confidence.
AGREES = 2.0


def pack_track(
    head: HeadModel,
    basis: LandmarkBasis,
    observed: Observations,
    intrinsics: Intrinsics,
    terms: Terms,
    state: State,
) -> Track:
    """The track of a solved clip."""
    layout = terms.layout
    frame = state.frame.cpu()
    rotation = state.rotation.cpu().numpy()
    translation = state.translation(layout).cpu().numpy()
    head_R, head_t, camera_R, camera_t = head_moves(rotation, translation)
    names = [name for name, rows in basis.groups.items() if len(rows)]
    per_frame, groups = _residuals(basis, terms, state, names)
    per_frame[~observed.seen] = np.nan
    groups[~observed.seen] = np.nan
    confidence = _confidence(observed, per_frame)
    size = observed.crop.size
    eyes = matrix_to_6d(matrix_from_axis_angle(eye_vectors(frame[:, layout.eyes])))
    return Track(
        ids=observed.ids,
        status=observed.status,
        confidence=confidence,
        interpolated=~observed.seen,
        shape=basis.identity_space.coefficients(state.shared[layout.identity].cpu().numpy()),
        exp=basis.expression_space.coefficients(frame[:, layout.expression].numpy()),
        jaw=matrix_to_6d(matrix_from_axis_angle(frame[:, layout.jaw])).numpy(),
        eyes=eyes.flatten(1).numpy(),
        eyelids=frame[:, layout.lids].numpy(),
        R=rotation,
        t=translation,
        K=intrinsics.matrix(float(state.shared[layout.focal].exp())),
        img_size=np.array([size, size]),
        head_R=head_R,
        head_t=head_t,
        camera_R=camera_R,
        camera_t=camera_t,
        residual_px=per_frame,
        residual_iod=per_frame / observed.size,
        residual_group=groups,
        group_names=np.array(names),
        head_name=head.name,
        head_version=head.version,
        head_licence=head.licence,
        fps=observed.fps,
    )


def _confidence(observed: Observations, residual: np.ndarray) -> np.ndarray:
    """(N,) detector confidence, reduced by large residuals; 0 without a face.

    Occluding hands, a head turned away and a wrong face all give residuals far above the clip's
    median.
    """
    usual = max(float(np.nanmedian(residual)), 1e-3)
    doubt = np.nan_to_num(residual / (AGREES * usual), nan=1.0)
    return np.where(observed.seen, observed.confidence / np.maximum(1, doubt) ** 2, 0.0)


def _residuals(
    basis: LandmarkBasis, terms: Terms, state: State, names: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """(N,) median over the points that metrical-tracker fits, (N, G) medians of groups, pixels."""
    apart = [basis.groups[g] for g in ("left_iris", "right_iris", "multipie68") if g in names]
    apart = np.concatenate([*apart, np.zeros(0, int)])
    inner = np.setdiff1d(np.arange(len(basis.index)), apart)
    rows = torch.arange(len(state.frame), device=state.frame.device)
    medians, groups = [], []
    for part in rows.split(BATCH):
        pixels = terms.projector.landmarks(state.part(part)).pixels
        distance = (pixels - terms.points[part]).norm(dim=-1).cpu().numpy()
        medians.append(np.median(distance[:, inner], axis=1))
        groups.append(np.stack([np.median(distance[:, basis.groups[g]], axis=1) for g in names], 1))
    return np.concatenate(medians), np.concatenate(groups)


def jitter(layout: Layout, state: State, linked: Tensor) -> dict[str, float]:
    """High-pass motion: root mean square of the third difference over sqrt(20).

    For white noise this is its standard deviation, for smooth motion nearly zero.

    Args:
        layout: of the unknowns.
        state: of consecutive frames.
        linked: (N - 1,) bool, neighbors of one piece.

    Returns:
        "turn" and "jaw" in degrees, "place" as a fraction of the head's size in the image.
    """
    if len(linked) < 3:
        return {"turn": 0.0, "jaw": 0.0, "place": 0.0}
    turn = state.rotation[1:] @ state.rotation[:-1].mT
    steps = {
        "turn": torch.rad2deg(axis_angle_from_matrix(turn)),
        "jaw": torch.rad2deg(state.frame[:, layout.jaw].diff(dim=0)),
        "place": state.frame[:, layout.place].diff(dim=0)[:, 2:],
    }
    whole = linked[2:] & linked[1:-1] & linked[:-2]
    values = {}
    for name, step in steps.items():
        third = step.diff(n=2, dim=0)[whole]
        values[name] = float((third.square().sum(-1).mean() / 20).sqrt()) if len(third) else 0.0
    return values
