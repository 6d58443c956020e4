"""Publish a clip's final track, refined or not.

This module does not import PyTorch, which would dominate the time of a stage that only publishes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from headsplat.runtime.files import write_json, write_npy
from headsplat.track import Track, read_track, write_track

NEVER = "never"


def publish_track(
    track: Track, verdict: Mapping[str, Any], out: Path, identity_out: Path, refinement_out: Path
) -> None:
    """Publish a clip's final track and the summary of its refinement.

    Args:
        track: the track.
        verdict: summary of the refinement, with at least its `mode`.
        out: packed track to write.
        identity_out: identity coefficients to write, `.npy` of (S,) float32.
        refinement_out: JSON to write.
    """
    write_npy(identity_out, np.asarray(track.shape, dtype=np.float32))
    write_json(refinement_out, verdict)
    write_track(out, track)


def publish_unrefined(track: Path, out: Path, identity_out: Path, refinement_out: Path) -> None:
    """Publish the landmark track itself: refinement mode "never", which reads no images.

    Args:
        track: the landmark track.
        out: packed track to write.
        identity_out: identity coefficients to write, `.npy` of (S,) float32.
        refinement_out: JSON to write: `mode`.

    Raises:
        UserError: the track cannot be read.
    """
    publish_track(read_track(track), {"mode": NEVER}, out, identity_out, refinement_out)
