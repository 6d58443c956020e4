"""Head, track and cut of a still clip, whose cut is a level line through the middle."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from headsplat.formats.importing.clip import make_track
from headsplat.masks.steady_cut import SteadyCut
from headsplat.masks.trunk_view import MARGIN, TrunkView
from headsplat.track import write_track

from .sphere_head import sphere_head


def write_geometry(head: Path, track: Path, cut: Path, ids: Iterable[int], side: int) -> None:
    """Write the three files for some frames of a square clip."""
    model, ids = sphere_head(), np.array(list(ids))
    count, still = len(ids), np.tile([1.0, 0, 0, 0, 1, 0], (len(ids), 1))
    K = np.array([[2.0 * side, 0, side / 2], [0, 2.0 * side, side / 2], [0, 0, 1]])
    model.save(head)
    write_track(track, make_track(
        model, ids, np.zeros(model.shape_basis.shape[2]),
        np.zeros((count, model.expression_basis.shape[2])), still, np.tile(still, 2),
        np.zeros((count, 2)), np.tile(np.diag([1.0, -1, -1]), (count, 1, 1)),
        np.tile([0, 0, 0.9], (count, 1)), K, (side, side),
    ))  # fmt: skip
    view = TrunkView(model, track)
    rows = np.arange(view.side)[:, None] + 0.5 - side * (MARGIN + 0.5)
    distance = np.broadcast_to(rows, (view.side, view.side)).astype(np.float32)
    hair = np.zeros(distance.shape, np.uint8)
    SteadyCut(distance, hair, view.reference, side / 3).save(cut)
