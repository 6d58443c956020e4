"""How well made lips agree with a track: correlations, lip vertex error, liveliness, closures."""

import numpy as np

from headsplat.speech.lips import LipShapes

CLOSED_PERCENTILE, OPEN_PERCENTILE = 5, 95
CLOSED_SHARE = 0.25  # of that range: closed lips are nearer to the lower percentile
SLACK, LEAD = 0.04, 0.06  # seconds beside a phone, and by which its closure precedes the sound

_ROWS = 512  # frames that are compared at once, which bounds memory
_CONSTANT = 1e-5  # relative deviation of values that are constant but for rounding


def lip_scores(made: LipShapes, seen: LipShapes) -> dict[str, float]:
    """Agreement of lips over the same N frames.

    Returns:
        corr_opening, corr_jaw, corr_width: correlations over time, 0 for constant values.
        lve_mm: mean over frames of the largest distance of a lip vertex; not squared.
        std_ratio: standard deviation of the opening, made / seen.
        speed_ratio: mean speed of the lip vertices, made / seen.
    """
    rows = range(0, len(made.opening), _ROWS)
    distance = np.concatenate([
        _length(made.vertices[r : r + _ROWS] - seen.vertices[r : r + _ROWS]).max(1) for r in rows
    ])  # fmt: skip
    scores = {
        f"corr_{name}": correlation(getattr(made, name), getattr(seen, name))
        for name in ("opening", "jaw", "width")
    }
    return scores | {
        "lve_mm": float(distance.mean()),
        "std_ratio": float(made.opening.std() / max(seen.opening.std(), 1e-9)),
        "speed_ratio": _speed(made.vertices) / max(_speed(seen.vertices), 1e-9),
    }


def closure_share(
    opening: np.ndarray, reference: np.ndarray, spans: np.ndarray, times: np.ndarray
) -> float | None:
    """Share of lip closures of a sound at which the lips close.

    Args:
        opening: (N,) mm of the made lips, or of the track's own.
        reference: (N,) mm of the track, whose 5th and 95th percentile tell what is closed.
        spans: (p, 2) seconds, begin and end of each p, b and m.
        times: (N,) seconds of the frames on the time axis of the sound.

    Returns:
        Share in 0..1; None without spans.
    """
    if len(spans) == 0:
        return None
    low, high = np.percentile(reference, (CLOSED_PERCENTILE, OPEN_PERCENTILE))
    limit = low + CLOSED_SHARE * (high - low)
    closed = []
    for begin, end in spans:
        near = slice(*np.searchsorted(times, (begin - LEAD - SLACK, end - LEAD + SLACK)))
        if len(part := opening[near]):
            closed.append(part.min() < limit)
    return float(np.mean(closed)) if closed else None


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Of (N,) and (N,); 0 where one of them is constant but for rounding."""
    if any(v.std() <= _CONSTANT * (np.abs(v).max() + 1e-9) for v in (a, b)):
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _speed(vertices: np.ndarray) -> float:
    """Mean distance that a vertex moves from frame to frame."""
    total = 0.0
    for row in range(0, len(vertices) - 1, _ROWS):
        part = vertices[row : row + _ROWS + 1]
        total += _length(part[1:] - part[:-1]).sum(dtype=np.float64)
    return float(total / max(1, (len(vertices) - 1) * vertices.shape[1]))


def _length(vectors: np.ndarray) -> np.ndarray:
    """(..., 3) -> (...); faster than `np.linalg.norm`."""
    return np.sqrt(np.einsum("...c,...c->...", vectors, vectors))
