"""The trunk's steps between the frames of a clip, measured a batch of frames at a time."""

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import cv2
import numpy as np

from headsplat.runtime.process import available_threads
from headsplat.runtime.progress import progress
from headsplat.track import Track
from headsplat.tracking.trunk.flow import SmallFrame, SmallFrames, follow
from headsplat.tracking.trunk.graph import REACH, Poses, Steps
from headsplat.tracking.trunk.steps import Step, fit_step
from headsplat.tracking.trunk.surface import Shown, TrunkSurface, projected, shown_points

# Distance of the compared frames, and every how many frames.
PAIRS = ((1, 1), (4, 4), (REACH, 4))
BATCH = 64
LEAST_SHOWN = 10

Pair = tuple[int, int]


class TrunkMeter:
    """Measures the trunk's steps in one clip.

    Args:
        surface: of the subject.
        track: of the clip.
        images: its frames and mattes.
        guess: the trunk's poses, roughly; places are of the anchor.
        linked: (N - 1,) bool, False at cuts.
    """

    def __init__(
        self,
        surface: TrunkSurface,
        track: Track,
        images: SmallFrames,
        guess: Poses,
        linked: np.ndarray,
    ) -> None:
        self._surface, self._track, self._images = surface, track, images
        self._guess = guess
        self._piece = np.concatenate([[0], np.cumsum(~np.asarray(linked, bool))])
        self._camera = np.asarray(track.K, np.float64) * [[images.scale], [images.scale], [1]]
        # Of the last frames, and the motion from the frame before each.
        self._kept: dict[int, tuple[SmallFrame, Shown]] = {}
        self._moves: dict[int, np.ndarray] = {}

    def measure(self) -> Iterator[Steps]:
        """Steps of the whole clip; memory does not grow with it."""
        cv2.setNumThreads(1)  # threads work on separate frames
        with ThreadPoolExecutor(available_threads()) as pool:
            lows = range(0, len(self._track), BATCH)
            for low in progress(lows, len(lows), "trunk"):
                rows = np.arange(low, min(low + BATCH, len(self._track)))
                self._look(rows, pool)
                for distance, every in PAIRS:
                    yield self._steps(rows, distance, every, pool)

    def _look(self, rows: np.ndarray, pool: Executor) -> None:
        """Read the next frames; older ones than any step reaches are dropped."""
        track, guess = self._track, self._guess
        outlines = self._surface.outlines(rows)

        def look(k: int) -> tuple[SmallFrame, Shown]:
            row = rows[k]
            frame = self._images.read(int(track.ids[row]))
            shift = guess.place[row] - guess.turn[row] @ self._surface.anchor
            hulls = [part[k] @ track.R[row].T + track.t[row] for part in outlines]
            pose = guess.turn[row], shift
            return frame, shown_points(self._surface, pose, hulls, self._camera, frame.matte)

        oldest = rows[0] - REACH
        self._kept = {row: kept for row, kept in self._kept.items() if row >= oldest}
        self._moves = {row: move for row, move in self._moves.items() if row >= oldest}
        self._kept |= dict(zip(rows.tolist(), pool.map(look, range(len(rows))), strict=True))

    def _steps(self, rows: np.ndarray, distance: int, every: int, pool: Executor) -> Steps:
        ends = rows[(rows % every == 0) & (rows >= distance)]
        ends = ends[self._piece[ends] == self._piece[ends - distance]]
        pairs = [(end - distance, end) for end in ends.tolist()]
        steps = list(pool.map(self._step, pairs))
        if distance == 1:
            for (_, end), step in zip(pairs, steps, strict=True):
                self._moves[end] = np.eye(4) if step is None else step.matrix()
        return _packed(pairs, steps)

    def _step(self, pair: Pair) -> Step | None:
        """The step between two frames; a longer one is searched for from the shorter ones."""
        first, second = pair
        (before, shown), (after, _) = self._kept[first], self._kept[second]
        if len(shown.rows) < LEAST_SHOWN:
            return None
        guess = None
        if second - first > 1:
            move = np.eye(4)
            for row in range(first + 1, second + 1):
                move = self._moves[row] @ move
            guess = projected(shown.camera @ move[:3, :3].T + move[:3, 3], self._camera)
        found = follow(before, after, shown.pixels, guess)
        points, center = shown.camera[found.kept], self._guess.place[first]
        return fit_step(points, found.pixels, found.information, self._camera, center)


def _packed(pairs: list[Pair], steps: list[Step | None]) -> Steps:
    whole = [(pair, step) for pair, step in zip(pairs, steps, strict=True) if step is not None]
    rows = np.array([pair for pair, _ in whole], int).reshape(-1, 2)

    def stacked(name: str, *shape: int) -> np.ndarray:
        return np.array([getattr(step, name) for _, step in whole]).reshape(-1, *shape)

    return Steps(
        rows[:, 0], rows[:, 1], stacked("turn", 3, 3), stacked("shift", 3), stacked("center", 3),
        stacked("information", 6, 6),
    )  # fmt: skip
