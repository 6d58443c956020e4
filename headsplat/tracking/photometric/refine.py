"""Photometric refinement of a landmark track by Gauss-Newton.

The energy of the first solve is extended by a photometric term: each frame's image is compared
with colors that are estimated from the clip.

All frames are solved at once; identity and albedos are free together. Clips longer than `JOINT`
frames estimate identity and colors on runs spread over the clip and are then refined window by
window.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from headsplat.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from headsplat.runtime.heartbeat import beat
from headsplat.runtime.logs import log
from headsplat.runtime.progress import progress
from headsplat.tracking import priors as numbers
from headsplat.tracking.layout import Layout, State
from headsplat.tracking.photometric.color import Appearance
from headsplat.tracking.photometric.images import BrightnessReader
from headsplat.tracking.photometric.surface import SurfacePoints
from headsplat.tracking.photometric.terms import PhotometricTerms
from headsplat.tracking.photometric.visibility import Visibility
from headsplat.tracking.priors import Priors
from headsplat.tracking.solver import ClipSolver, SolveProgress
from headsplat.tracking.terms import Terms

POINTS = 2000
# Downsampling factor and steps of each level; visibility is updated before each step.
LEVELS = ((2, 3), (1, 4), (1, 3))
DAMPING = 1e-4
JOINT, WINDOW, OVERLAP = 800, 400, 50
# Required relative decrease of the held-out photometric error, and allowed relative increase of the
# landmark error. The latter was minimal before and includes systematic errors of the detector.
# A share of the image width is allowed in any case: a third of a pixel less is within the noise of
# the detector, even where it is a large share of a small error.
GAIN, SLACK, FINE = 0.03, 0.25, 1 / 512
SETTLE_ROUNDS = 2


Save = Callable[[str, SolveProgress], None]
Load = Callable[[str], SolveProgress | None]


@dataclass(frozen=True)
class RefinementErrors:
    """Errors (before, after): brightness of held-out points in 0..1, and landmarks in pixels.

    `width` is that of the images, in pixels.
    """

    held_out: tuple[float, float]
    landmarks: tuple[float, float]
    width: int

    @property
    def better(self) -> bool:
        """Whether the refined track is better."""
        gain = self.held_out[1] <= (1 - GAIN) * self.held_out[0]
        allowed = max((1 + SLACK) * self.landmarks[0], FINE * self.width)
        return gain and self.landmarks[1] <= allowed


class Refiner:
    """Refines one clip.

    Args:
        terms: landmark terms of the clip.
        priors: of the clip.
        linked: (N - 1,) bool, False at cuts.
        points: skin points.
        visibility: of the head's mesh.
        images: of the clip.
        ids: (N,) frame ids.
        center: principal point.
        save: stores the progress of a named run.
        load: returns the stored progress of a named run, or None.
    """

    def __init__(
        self,
        terms: Terms,
        priors: Priors,
        linked: Tensor,
        points: SurfacePoints,
        visibility: Visibility,
        images: BrightnessReader,
        ids: Sequence[int],
        center: tuple[float, float],
        save: Save,
        load: Load,
    ) -> None:
        self._terms, self._priors, self._linked = terms, priors, linked
        self._points, self._visibility = points, visibility
        self._images, self._ids, self._center = images, list(ids), center
        self._layout: Layout = terms.layout
        self._save, self._load = save, load

    def refine(self, state: State) -> tuple[State, RefinementErrors]:
        """The refined state, and whether it is better."""
        count = len(state.frame)
        frames = torch.arange(count, device=state.frame.device)
        if count <= JOINT:
            solved, verdict, _ = self._joint(state, frames)
            return solved, verdict
        starts = np.linspace(0, count - OVERLAP, JOINT // OVERLAP).astype(int)
        sample = np.unique(np.concatenate([np.arange(s, s + OVERLAP) for s in starts]))
        rows = torch.as_tensor(sample, device=frames.device)
        solved, verdict, color = self._joint(state.part(rows), rows)
        if not verdict.better:
            return state, verdict
        start = State(state.frame, state.rotation, solved.shared)
        state = State(state.frame.clone(), state.rotation.clone(), solved.shared)
        lows = range(0, count, WINDOW)
        for low in progress(lows, len(lows), "windows"):
            high = min(low + WINDOW, count)
            first, last = max(low - OVERLAP, 0), min(high + OVERLAP, count)
            part, window = start.part(slice(first, last)), frames[first:last]
            part = self._solve_levels(
                f"window-{low}", part, self._photometric(window, color), window
            )
            state.frame[low:high] = part.frame[low - first : high - first]
            state.rotation[low:high] = part.rotation[low - first : high - first]
        return state, verdict

    def _photometric(self, frames: Tensor, color: Appearance | None = None) -> PhotometricTerms:
        """Photometric terms of some frames; colors are `color`, or estimated if None."""
        rows = frames.tolist()
        planes = self._images.read([self._ids[row] for row in rows])
        trust = self._terms.weight[frames]
        return PhotometricTerms(
            self._points, self._visibility, planes.to(frames.device), self._center, trust, color
        )

    def _joint(self, state: State, frames: Tensor) -> tuple[State, RefinementErrors, Appearance]:
        photometric = self._photometric(frames)
        before, start = self._held_out(photometric, state), state
        state = self._solve_levels("joint", state, photometric, frames)
        after = self._held_out(photometric, state)
        misses = tuple(self._landmark_error(s, frames) for s in (start, state))
        errors = RefinementErrors((before, after), misses, self._images.size)
        return state, errors, photometric.color

    def _solve_levels(
        self, name: str, state: State, photometric: PhotometricTerms, frames: Tensor
    ) -> State:
        """Solve all levels for some frames, resuming an earlier run.

        The identity is free where the colors are.
        """
        linked = (frames[1:] == frames[:-1] + 1) & self._linked[frames[:-1]]
        solver = ClipSolver(self._terms, self._priors, frames, linked)
        free = 0 if photometric.given else self._layout.n_identity
        kept, start = self._load(name) or SolveProgress(state), state
        state = kept.state
        for level in range(kept.iteration, len(LEVELS)):
            factor, steps = LEVELS[level]
            photometric.update_visibility(state)
            for _ in range(steps):
                state = self._step(solver, photometric, state, factor, free)
            if not photometric.given:
                state = remove_common_motion(solver, state, start, numbers.OUTLIER)
            self._save(name, SolveProgress(state, iteration=level + 1))
        return state

    def _step(
        self,
        solver: ClipSolver,
        photometric: PhotometricTerms,
        state: State,
        factor: int,
        free: int,
    ) -> State:
        beat(f"refining {len(state.frame)} frames at 1/{factor} of their size")
        samples = photometric.sample(state, factor)
        blocks = photometric.blocks(state, samples, photometric.fit(samples))
        normal = solver.linearize(state, numbers.OUTLIER, free)
        normal.frame += blocks.frame
        normal.frame_gradient += blocks.frame_gradient
        normal.border += blocks.border[..., :free]
        normal.shared += blocks.shared[:free, :free]
        normal.shared_gradient += blocks.shared_gradient[:free]
        step, found, _ = solver.solve(normal, solver.held(normal, state), DAMPING)
        shared = torch.zeros_like(state.shared)
        shared[:free] = found
        state = state.moved(self._layout, step, shared)
        state.frame.clamp_(self._priors.lower, self._priors.upper)
        return state

    def _held_out(self, photometric: PhotometricTerms, state: State) -> float:
        """Root mean square brightness error of held-out points, with colors fitted to `state`."""
        photometric.update_visibility(state)
        samples = photometric.sample(state, 1)
        return photometric.held_out(samples, photometric.fit(samples))[1]

    def _landmark_error(self, state: State, frames: Tensor) -> float:
        """Median distance between model and detected landmarks, pixels."""
        parts = []
        for rows in torch.arange(len(frames), device=frames.device).split(256):
            pixels = self._terms.projector.landmarks(state.part(rows)).pixels
            away = (pixels - self._terms.points[frames[rows]]).norm(dim=-1)
            parts.append(away[self._terms.weight[frames[rows]] > 0].flatten())
        return float(torch.cat(parts).median())


def log_refinement(verdict: RefinementErrors, taken: bool) -> None:
    """Log the errors before and after, and whether the refined track is used."""
    before, after = verdict.held_out
    log.info(
        "photometric refinement: held-out skin misses %.2f -> %.2f of 255, landmarks "
        "%.2f -> %.2f px: %s",
        255 * before, 255 * after, *verdict.landmarks,
        "taken" if taken else "not better, the landmarks' track stays",
    )  # fmt: skip


def common_motions(state: State, layout: Layout) -> Tensor:
    """Derivatives of each frame's `place` by motions common to all frames.

    Args:
        state: of the frames.
        layout: of the unknowns.

    Returns:
        (N, 3, 4) place by three shifts (meters) in the head's own axes, and by growth.
    """
    new = state.frame.new_zeros(len(state.frame), 3, 4)
    place = state.frame[:, layout.place]
    scale = place[:, 2:].exp()
    by_depth = -scale / state.shared[layout.focal].exp()
    new[:, :2, :3] = scale[..., None] * state.rotation[:, :2]
    new[:, :2, :3] += (place[:, :2] * by_depth)[..., None] * state.rotation[:, 2:]
    new[:, 2:, :3] = by_depth[..., None] * state.rotation[:, 2:]
    new[:, 2, 3] = 1
    return new


def remove_common_motion(solver: ClipSolver, state: State, start: State, outlier: float) -> State:
    """Reset the mean rotation of all frames to that of `start`, then shift to fit landmarks.

    With free colors, a common rotation, shift or scale of all frames fits the images equally well.
    Only the weak landmark terms would resist this drift. The common rotation is therefore reset to
    the landmark solve, and the landmarks determine the position again.

    Args:
        solver: of the frames.
        state: of the frames.
        start: landmark solve of the same frames.
        outlier: scale of the robust loss, in standard deviations.
    """
    layout = solver.layout
    turn = axis_angle_from_matrix(start.rotation.mT @ state.rotation).mean(0)
    state = replace(state, rotation=state.rotation @ matrix_from_axis_angle(-turn))
    columns = layout.place
    for _ in range(SETTLE_ROUNDS):
        normal = solver.linearize(state, outlier, 0)
        motions = common_motions(state, layout)
        matrix = (motions.mT @ normal.frame[:, columns, columns] @ motions).sum(0)
        pull = (motions.mT @ normal.frame_gradient[:, columns, None]).sum(0)
        step = torch.zeros_like(state.frame)
        step[:, columns] = -(motions @ torch.linalg.solve(matrix, pull)).squeeze(-1)
        state = state.moved(layout, step, torch.zeros_like(state.shared))
    return state
