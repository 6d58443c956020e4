"""Matting by Robust Video Matting: a soft alpha with hair, steadied by the network's own memory."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from headsplat.masks.cuts import CutDetector
from headsplat.masks.refine import central_component
from headsplat.networks.rvm_sessions import MattingEngine, stack
from headsplat.networks.transfer import Download, Row

_FAINT = 25  # of 255: what is fainter joins no regions
_BYSTANDER = 0.005  # of the image: what is smaller is hair, not a person


class RvmMatter:
    """The network on a clip: its memory is reset at cuts, bystanders are left out.

    Args:
        engine: the network.
    """

    warm_up = 25  # a second: what lies further back no longer shows

    def __init__(self, engine: MattingEngine) -> None:
        self.batch = engine.batch
        self._engine = engine
        self._is_cut = CutDetector()
        self._shape: tuple[int, ...] | None = None

    def begin(self, images: Sequence[np.ndarray]) -> list[Row]:
        """Mattes of the next frames, (H, W, 3) uint8 RGB each, on their way from the network."""
        begun: list[Row] = []
        for shot, fresh in self._shots(images):
            if fresh:
                self._engine.reset()
            begun += Download(self._engine.alphas(stack(shot))).rows()
        return begun

    def _shots(self, images: Sequence[np.ndarray]) -> Iterator[tuple[list[np.ndarray], bool]]:
        """Runs of images of one shot and size, and whether each begins a new one."""
        run: list[np.ndarray] = []
        fresh = False
        for image in images:
            resized = self._shape is not None and image.shape != self._shape
            self._shape = image.shape
            if self._is_cut(image) or resized:
                if run:
                    yield run, fresh
                run, fresh = [], True
            run.append(image)
        if run:
            yield run, fresh

    def finish(self, begun: Row) -> np.ndarray:
        """The matte (H, W) uint8, bystanders left out."""
        return without_bystanders(begun.array())

    def close(self) -> None:
        """Nothing to release: the engine goes with its last reference."""


def without_bystanders(matte: np.ndarray) -> np.ndarray:
    """Silence large regions that do not touch the subject; loose strands of hair stay.

    Args:
        matte: (H, W) uint8.

    Returns:
        (H, W) uint8.
    """
    coarse = matte > _FAINT
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(coarse.astype(np.uint8))
    large = statistics[:, cv2.CC_STAT_AREA] > _BYSTANDER * matte.size
    large[0] = False
    if large.sum() < 2:
        return matte
    large[central_component(labels, count, matte.astype(np.float32))] = False
    others = large[labels].astype(np.uint8)
    reach = 2 * (matte.shape[1] // 64) + 1
    around = cv2.dilate(others, np.ones((reach, reach), np.uint8)) > 0
    return np.where(around & (~coarse | (others > 0)), np.uint8(0), matte)
