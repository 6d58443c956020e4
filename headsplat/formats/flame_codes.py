"""What exports of FLAME's parameters share: the check of the head, and codes of another length."""

import numpy as np

from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError
from headsplat.track import Track, check_head


def require_flame_track(track: Track, head: HeadModel, target: str) -> None:
    """A track of another head has no FLAME parameters: `UserError`."""
    check_head(track, head.name, head.version)
    if head.name != "flame":
        raise UserError(
            f"{target} holds FLAME's parameters, the subject's head is '{head.name}'; write "
            "'flame' in the column 'head' and track the clip again"
        )


def flame_year(head: HeadModel) -> str:
    """Whose codes these are, "2020" or "2023"."""
    return head.version.split("-", 1)[0]


def padded(codes: np.ndarray, count: int) -> np.ndarray:
    """(..., n) codes -> (..., count) float64: zeros added, or the last ones left out."""
    out = np.zeros((*codes.shape[:-1], count))
    kept = min(count, codes.shape[-1])
    out[..., :kept] = codes[..., :kept]
    return out


def millimetres_lost(head: HeadModel, track: Track, n_shape: int, n_exp: int) -> float:
    """How far leaving out the last codes moves a vertex at most, millimetres."""
    shape = head.shape_basis[..., n_shape:].astype(np.float64) @ track.shape[n_shape:]
    lost = np.linalg.norm(shape, axis=-1).max(initial=0)
    basis = head.expression_basis[..., n_exp:].reshape(-1, max(track.exp.shape[1] - n_exp, 0))
    for exp in track.exp[:, n_exp:]:
        moved = (basis @ exp).reshape(-1, 3) + shape
        lost = max(lost, np.linalg.norm(moved, axis=-1).max())
    return 1000 * float(lost)
