"""The refinement stage: track, frames and mattes -> the better track, with the trunk's pose."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headsplat.gaussians.raster.extension import serving_device
from headsplat.heads.model import HeadModel
from headsplat.rotations import axis_angle_from_matrix, matrix_from_6d
from headsplat.runtime.errors import UserError
from headsplat.runtime.logs import log
from headsplat.runtime.scratch import Scratch, state_key
from headsplat.track import Track, check_head, read_track
from headsplat.tracking import priors as numbers
from headsplat.tracking.basis import LandmarkBasis, Space
from headsplat.tracking.intrinsics import Intrinsics
from headsplat.tracking.layout import Layout, State
from headsplat.tracking.observations import Observations, read_observations
from headsplat.tracking.outputs import pack_track
from headsplat.tracking.photometric.images import BrightnessReader
from headsplat.tracking.photometric.publish import NEVER, publish_track
from headsplat.tracking.photometric.refine import POINTS, RefinementErrors, Refiner, log_refinement
from headsplat.tracking.photometric.surface import SurfacePoints, skin_points
from headsplat.tracking.photometric.visibility import Visibility
from headsplat.tracking.priors import INDEPENDENT_FRAMES, build_priors
from headsplat.tracking.run import read_identity
from headsplat.tracking.solve_checkpoint import SolveCheckpoint
from headsplat.tracking.terms import Terms
from headsplat.tracking.trunk.solve import solve_trunk

# Number of frames from which landmark offsets are estimated.
OFFSET_FRAMES, OFFSET_ROUNDS = 400, 3


def refine_track(
    head_path: Path,
    track_path: Path,
    landmarks: Path,
    crop: Path,
    frames_table: Path,
    frames: Sequence[Path],
    mattes: Sequence[Path],
    out: Path,
    identity_out: Path,
    refinement_out: Path,
    identity: Path | None = None,
    mode: str = "auto",
    scratch: Path | None = None,
    device: str = "auto",
    code: str = "",
    trunk: bool = True,
) -> None:
    """Refine one clip's track against its images, solve the trunk, and publish all three outputs.

    Args:
        head_path: head model `.npz` of the track.
        track_path: the landmark track.
        landmarks: landmarks of the clip.
        crop: the clip's window.
        frames_table: the frame table.
        frames: `frames/*.zip`.
        mattes: `alpha/*.zip`.
        out: track to write.
        identity_out: identity coefficients to write, (S,).
        refinement_out: JSON to write: `mode`, `taken`, and the errors `held_out` and
            `landmarks` of `RefinementErrors`.
        identity: `.npy` mean of the identity prior that the track was made with.
        mode: "auto" takes the refined track if held-out skin and landmarks improve, "always" takes
            it in any case, "never" keeps the landmark track.
        scratch: folder for resumable state; None keeps none.
        device: "auto", "cpu" or "cuda".
        code: version of the code; resumable state of another version is not used.
        trunk: solve the trunk's pose.

    Raises:
        UserError: inputs that do not belong together.
    """
    track, store = read_track(track_path), None
    if scratch is not None:
        inputs = [head_path, track_path, landmarks, crop, frames_table, *frames, *mattes]
        inputs += [identity] if identity else []
        store = Scratch(scratch, state_key(inputs, {}, code))
    head = HeadModel.load(head_path)
    check_head(track, head.name, head.version)
    detections, images = (landmarks, crop, frames_table), (frames, mattes)
    observed = read_observations(*detections)
    if observed.ids.tolist() != track.ids.tolist():
        raise UserError(f"{landmarks}: other frames than the track's; track the clip again")
    # Threads work on separate frames; the matrices are too small for parallel kernels.
    torch.set_num_threads(1)
    verdict: dict[str, Any] = {"mode": mode}
    if mode != NEVER:
        checkpoint = SolveCheckpoint(store, str(serving_device(device)))
        refined, found = _refined(head, track, observed, images, identity, checkpoint)
        taken = mode == "always" or found.better
        log_refinement(found, taken)
        verdict |= {"taken": taken} | asdict(found)
        track = refined if taken else track
    if trunk:
        track = solve_trunk(track, head, *images, observed.linked)
    publish_track(track, verdict, out, identity_out, refinement_out)
    if store is not None:
        store.clear()


def _refined(
    head: HeadModel,
    track: Track,
    observed: Observations,
    images: tuple[Sequence[Path], Sequence[Path]],
    identity: Path | None,
    checkpoint: SolveCheckpoint,
) -> tuple[Track, RefinementErrors]:
    device = checkpoint.device
    camera = Intrinsics(
        float(track.K[0, 0]), (float(track.K[0, 2]), float(track.K[1, 2])), fixed=True
    )
    shift = np.asarray(observed.center) - np.asarray(camera.center)
    observed = observed.shifted(shift, camera.center)
    prior = None if identity is None else read_identity(identity, len(head.shape_std))
    face, weights = skin_points(head, POINTS)
    # Identity directions visible only on the skin, such as the forehead, are solved for too.
    skin = (head.faces[face], weights)
    basis = LandmarkBasis(head, prior, device, second=observed.second is not None, skin=skin)
    layout = Layout(len(basis.bounds), basis.identity_space.matrix.shape[1])
    terms = Terms(basis, layout, observed)
    priors = build_priors(basis, layout, observed.size, float(np.log(camera.focal)), observed.fps)
    state = state_of(track, basis, layout)
    place_landmarks(terms, state)
    size = int(track.img_size[0])
    points = SurfacePoints(head, basis, layout, (face, weights))
    visibility = Visibility(head, basis, layout, points, size, camera.center)
    linked = torch.as_tensor(observed.linked, device=device)
    with BrightnessReader(*images, size) as shown:
        refiner = Refiner(
            terms, priors, linked, points, visibility, shown, observed.ids.tolist(), camera.center,
            checkpoint.save, checkpoint.load,
        )  # fmt: skip
        refined, verdict = refiner.refine(state)
    packed = pack_track(head, basis, observed, camera, terms, refined)
    return packed, verdict


def state_of(track: Track, basis: LandmarkBasis, layout: Layout) -> State:
    """The solver's state that corresponds to `track`."""
    device = basis.lids.device
    count = len(track.ids)
    frame = torch.zeros(count, layout.frame_size, dtype=torch.float64)
    shared = torch.zeros(layout.shared_size, dtype=torch.float64)

    def tensor(array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.asarray(array, dtype=np.float64))

    frame[:, layout.expression] = _coordinates(basis.expression_space, track.exp)
    shared[layout.identity] = _coordinates(basis.identity_space, track.shape)
    focal = float(track.K[0, 0])
    shared[layout.focal] = float(np.log(focal))
    frame[:, layout.jaw] = axis_angle_from_matrix(matrix_from_6d(tensor(track.jaw)))
    eyes = axis_angle_from_matrix(matrix_from_6d(tensor(track.eyes).reshape(-1, 2, 6)))
    frame[:, layout.eyes] = eyes[..., :2].flatten(1)
    frame[:, layout.lids] = tensor(track.eyelids)
    across, depth = tensor(track.t)[:, :2], tensor(track.t)[:, 2:]
    frame[:, layout.place] = torch.cat([focal * across / depth, (focal / depth).log()], 1)
    # Float32 matrices are projected to the nearest rotation.
    left, _, right = torch.linalg.svd(tensor(track.R))
    return State(frame.to(device), (left @ right).to(device), shared.to(device))


def _coordinates(space: Space, coefficients: np.ndarray) -> torch.Tensor:
    away = np.asarray(coefficients, dtype=np.float64) - space.mean
    return torch.as_tensor(np.linalg.lstsq(space.matrix, away.T, rcond=None)[0].T)


def place_landmarks(terms: Terms, state: State) -> None:
    """Estimate the shifts of the landmarks on the head, and the scores' constants, from a track."""
    known = (terms.weight > 0).nonzero().squeeze(1)
    rows = known[:: 1 + len(known) // OFFSET_FRAMES]
    weight = max(len(rows) / INDEPENDENT_FRAMES, 1.0)
    for _ in range(OFFSET_ROUNDS):
        terms.move(terms.offsets(state.part(rows), rows, numbers.OUTLIER, weight))
    terms.calibrate(state, torch.arange(len(state.frame), device=rows.device))
    log.info("landmarks moved on the head by %.1f mm", 1000 * terms.moved.norm(dim=1).median())
