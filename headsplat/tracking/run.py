"""The tracking stage: head model and landmarks of a clip -> packed track and identity."""

from pathlib import Path

import numpy as np
import torch

from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npy, write_npy
from headsplat.runtime.logs import log
from headsplat.runtime.scratch import Scratch, state_key
from headsplat.track import write_track
from headsplat.tracking.basis import LandmarkBasis
from headsplat.tracking.intrinsics import default_intrinsics, given_intrinsics
from headsplat.tracking.observations import read_observations
from headsplat.tracking.outputs import jitter, pack_track
from headsplat.tracking.schedule import ClipTracker
from headsplat.tracking.solve_checkpoint import SolveCheckpoint


def track_head(
    head_path: Path,
    landmarks: Path,
    crop: Path,
    frames: Path,
    out: Path,
    identity_out: Path,
    identity: Path | None = None,
    intrinsics: str | None = None,
    scratch: Path | None = None,
    device: str = "cpu",
    code: str = "",
) -> None:
    """Track one clip and publish `out` (track.npz) and `identity_out` (identity.npy, (S,)).

    Args:
        head_path: head model `.npz`.
        landmarks: the subject's landmarks, full-frame pixels.
        crop: the clip's window.
        frames: the frame table.
        out: packed track.
        identity_out: identity coefficients.
        identity: `.npy` (S,) mean of the identity prior, e.g. MICA's for FLAME.
        intrinsics: "fx,fy,cx,cy" in source pixels; None estimates the focal length.
        scratch: folder for resumable state; None keeps none.
        device: "cpu" or "cuda".
        code: version of the code; resumable state of another version is not used.

    Raises:
        UserError: an input that does not fit; see `read_observations` and `read_identity`.
    """
    # Threads process separate frames; the matrices are too small for parallel kernels.
    torch.set_num_threads(1)
    head = HeadModel.load(head_path)
    observed = read_observations(landmarks, crop, frames)
    prior = None if identity is None else read_identity(identity, len(head.shape_std))
    if intrinsics is None:
        camera = default_intrinsics(observed.crop)
    else:
        camera = given_intrinsics(intrinsics, observed.crop)
        shift = np.asarray(observed.center) - np.asarray(camera.center)
        observed = observed.shifted(shift, camera.center)
    store = None
    if scratch is not None:
        inputs = [head_path, landmarks, crop, frames, *([identity] if identity else [])]
        key = state_key(inputs, {"intrinsics": intrinsics}, code)
        store = Scratch(scratch, key)

    basis = LandmarkBasis(head, prior, device, second=observed.second is not None)
    checkpoint = SolveCheckpoint(store, device)
    tracker = ClipTracker(basis, observed, camera, checkpoint.save, checkpoint.load)
    log.info(
        "%d frames, %d with a face; %d unknowns a frame, %d shared",
        len(observed.ids), observed.seen.sum(), tracker.layout.frame_size,
        tracker.layout.shared_size,
    )  # fmt: skip
    state = tracker.solve()
    track = pack_track(head, basis, observed, camera, tracker.terms, state)
    shaking = jitter(tracker.layout, state, tracker.linked)
    log.info(
        "median landmark residual %.2f px, %.2f %% of the inter-ocular distance; "
        "jitter: head %.3f deg, jaw %.3f deg",
        np.nanmedian(track.residual_px), 100 * np.nanmedian(track.residual_iod),
        shaking["turn"], shaking["jaw"],
    )  # fmt: skip
    write_npy(identity_out, np.asarray(track.shape, dtype=np.float32))
    write_track(out, track)
    if store is not None:
        store.clear()


def read_identity(path: Path, size: int) -> np.ndarray:
    """An identity vector of `size` coefficients.

    Raises:
        UserError: not a readable `.npy`, another length, or not finite.
    """
    vector = read_npy(path).reshape(-1)
    if vector.shape != (size,):
        raise UserError(
            f"{path}: {vector.size} identity coefficients, the head model has {size}; "
            "give the identity of this head model or none"
        )
    if vector.dtype.kind not in "fiu" or not np.isfinite(vector).all():
        raise UserError(f"{path}: identity coefficients are not finite numbers; give a whole file")
    return vector.astype(np.float64)
