"""Order of the solves of a clip: jointly, or in overlapping windows.

1. Poses of all frames by scaled orthography.
2. Identity and focal length with a few frames spread over poses and mouth shapes, each with its
   own expression and no temporal terms.
3. The whole clip with temporal terms, identity and focal length along with it. For clips longer
   than `JOINT` frames, these come from runs spread over the clip, and the rest is solved in
   windows. Memory is then bounded. Windows overlap by more than the range of the temporal terms.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from headsplat.runtime.logs import log
from headsplat.tracking import priors as numbers
from headsplat.tracking.basis import SECOND, LandmarkBasis
from headsplat.tracking.initial import initial_state
from headsplat.tracking.intrinsics import OBSERVABLE, Intrinsics
from headsplat.tracking.layout import Layout, State
from headsplat.tracking.observations import Observations
from headsplat.tracking.priors import build_priors
from headsplat.tracking.solver import ClipSolver, SolveProgress
from headsplat.tracking.terms import Terms

KEY_FRAMES, KEY_CANDIDATES = 96, 10000
KEY_ITERATIONS = 2
OFFSET_ROUNDS = 8
JOINT = 1600
JOINT_ITERATIONS = 8
# Windows of frames on a CPU (fits the cache of a core) and on a GPU.
WINDOW, GPU_WINDOW, OVERLAP = 1000, 4000, 50
# Annealing of the robust loss, in units of `priors.OUTLIER`.
ROBUST_ANNEALING = 4.0

Save = Callable[[str, SolveProgress], None]
Load = Callable[[str], SolveProgress | None]


class ClipTracker:
    """Solves one clip.

    Args:
        basis: landmark basis of the head.
        observed: detections of the clip.
        intrinsics: given or default.
        save: stores the progress of a named stage.
        load: returns the stored progress of a named stage, or None.
    """

    def __init__(
        self,
        basis: LandmarkBasis,
        observed: Observations,
        intrinsics: Intrinsics,
        save: Save,
        load: Load,
    ) -> None:
        self.observed, self.intrinsics = observed, intrinsics
        self.layout = Layout(len(basis.bounds), basis.identity_space.matrix.shape[1])
        self.terms = Terms(basis, self.layout, observed)
        self.device = basis.lids.device
        self.priors = build_priors(
            basis, self.layout, observed.size, float(np.log(intrinsics.focal)), observed.fps
        )
        self.linked = torch.as_tensor(observed.linked, device=self.device)
        self._save, self._load = save, load

    def solve(self) -> State:
        """Solve the key frames, then all frames; returns the state of all frames."""
        state = initial_state(
            self.terms, self.layout, self.priors.shared_mean, self.observed.linked
        )
        keys = self._key_frames(state)
        shared = self._solve_shared(state.part(keys), keys)
        state = State(state.frame, state.rotation, shared)
        # Landmark offsets and focal length depend on each other; both are fixed from here on.
        free = self.layout.n_identity
        frames = torch.arange(len(state.frame), device=self.device)
        if len(frames) <= JOINT:
            return self._solve_run("clip", state, frames, free)
        return self._solve_long(state, frames, free)

    def _key_frames(self, state: State) -> Tensor:
        """Frames that differ most from each other: farthest-point sampling of the landmarks.

        Image position is removed; size, rotation and mouth shape remain.
        """
        known = (self.terms.weight > 0.5 * self.terms.weight.max()).nonzero().squeeze(1)
        known = known[:: 1 + len(known) // KEY_CANDIDATES]
        own = torch.as_tensor(self.terms.basis.index < SECOND)
        points = self.terms.points[known][:, own.to(self.device)]
        points = ((points - points.mean(1, keepdim=True)) / self.terms.size).flatten(1)
        count = min(KEY_FRAMES, len(known))
        distance = (points - points.median(0).values).square().sum(1)
        chosen = [int(distance.argmin())]
        nearest = (points - points[chosen[0]]).square().sum(1)
        # Half by difference, half evenly over the clip, because detection is worst at the extremes.
        while len(chosen) < count // 2:
            chosen.append(int(nearest.argmax()))
            nearest = torch.minimum(nearest, (points - points[chosen[-1]]).square().sum(1))
        even = np.linspace(0, len(known) - 1, count - len(chosen) + 2)[1:-1].astype(int)
        rows = sorted({*chosen, *even.tolist()})
        return known[torch.tensor(rows, device=known.device)]

    def _solve_shared(self, state: State, keys: Tensor) -> Tensor:
        """Identity and focal length from the key frames.

        Returns:
            (Q,) shared unknowns.
        """
        untied = torch.zeros(len(keys) - 1, dtype=torch.bool, device=self.device)
        solver = ClipSolver(self.terms, self.priors, keys, untied)
        layout = self.layout
        progress = solver.iterate(SolveProgress(state), 3, ROBUST_ANNEALING * numbers.OUTLIER, 0)
        free = layout.n_identity
        progress = solver.iterate(
            SolveProgress(progress.state),
            5,
            ROBUST_ANNEALING * numbers.OUTLIER,
            free,
            tolerance=1e-3,
        )
        if not self.intrinsics.fixed:
            free = layout.shared_size
        for _ in range(OFFSET_ROUNDS):
            state = progress.state
            shift = self.terms.offsets(state, keys, numbers.OUTLIER, solver.shared_weight)
            self.terms.move(shift)
            progress = solver.iterate(
                SolveProgress(state, progress.damping),
                KEY_ITERATIONS, numbers.OUTLIER, free, tolerance=1e-3,
            )  # fmt: skip
        self.terms.calibrate(progress.state, keys)
        log.info(
            "landmarks moved on the head by %.1f mm (median)",
            1000 * self.terms.moved.norm(dim=1).median(),
        )
        log.info(
            "identity and focal length from %d frames: cost %.1f a frame",
            len(keys), progress.cost / len(keys),
        )  # fmt: skip
        if self.intrinsics.fixed:
            return progress.state.shared
        normal = solver.linearize(progress.state, numbers.OUTLIER, free)
        held = solver.held(normal, progress.state)
        reduced = solver.solve(normal, held, 0.0)[2] / solver.shared_weight
        spread = float(torch.linalg.inv(reduced)[layout.focal, layout.focal].sqrt())
        shared = progress.state.shared
        focal = float(shared[layout.focal].exp())
        if spread < OBSERVABLE:
            log.info("focal length %.0f px, +- %.0f %%", focal, 100 * spread)
            return shared
        log.info(
            "the head turns too little to tell the focal length (%.0f px +- %.0f %%): "
            "the default %.0f px is used",
            focal, 100 * spread, self.intrinsics.focal,
        )  # fmt: skip
        free = layout.n_identity
        fixed = shared.clone()
        fixed[layout.focal] = self.priors.shared_mean[layout.focal]
        state = State(progress.state.frame, progress.state.rotation, fixed)
        progress = solver.iterate(SolveProgress(state), 6, numbers.OUTLIER, free, tolerance=3e-4)
        return progress.state.shared

    def _solve_run(self, name: str, state: State, frames: Tensor, free: int) -> State:
        """Solve consecutive frames with temporal terms; resumes from a saved state."""
        linked = frames[1:] == frames[:-1] + 1
        linked &= self.linked[frames[:-1]]
        solver = ClipSolver(self.terms, self.priors, frames, linked)
        steps = (("poses", 4, ROBUST_ANNEALING * numbers.OUTLIER, 0, 1e-2),)
        steps += (("all", JOINT_ITERATIONS, numbers.OUTLIER, free, 3e-4),)
        for label, iterations, outlier, unknowns, tolerance in steps:
            stage = f"{name}-{label}"
            kept = self._load(stage)
            progress = kept or SolveProgress(state)
            progress = solver.iterate(
                progress, iterations, outlier, unknowns, tolerance,
                after=lambda p, stage=stage: self._save(stage, p),
            )  # fmt: skip
            state = progress.state
            log.info(
                "%s: %d iterations, cost %.1f a frame", stage, progress.iteration,
                progress.cost / len(frames),
            )  # fmt: skip
        return state

    def _solve_long(self, state: State, frames: Tensor, free: int) -> State:
        """Solve shared unknowns on runs spread over the clip, then all windows in turn."""
        count, runs = len(frames), JOINT // OVERLAP
        starts = np.linspace(0, count - OVERLAP, runs).astype(int)
        sample = np.unique(np.concatenate([np.arange(s, s + OVERLAP) for s in starts]))
        rows = torch.as_tensor(sample, device=self.device)
        shared = self._solve_run("sample", state.part(rows), rows, free).shared
        frame, rotation = state.frame.clone(), state.rotation.clone()
        window = GPU_WINDOW if frames.is_cuda else WINDOW
        for low in range(0, count, window):
            high = min(low + window, count)
            first, last = max(low - OVERLAP, 0), min(high + OVERLAP, count)
            rows = torch.arange(first, last, device=self.device)
            part = State(state.frame[rows], state.rotation[rows], shared)
            solved = self._solve_run(f"window-{low}", part, rows, 0)
            frame[low:high] = solved.frame[low - first : high - first]
            rotation[low:high] = solved.rotation[low - first : high - first]
        return State(frame, rotation, shared)
