"""Matting with RobustVideoMatting: recurrent state reset at shot changes, bystanders removed."""

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch

from headsplat.masks.matting_models import MatteOptions
from headsplat.masks.refine import central_component
from headsplat.networks.rvm_inference import MattingEngine, open_rvm, stack
from headsplat.networks.transfer import Download, Row
from headsplat.runtime.device import shared_gpu
from headsplat.runtime.process import available_threads

_FAINT = 25  # alpha of 255 below which pixels do not connect regions
_BYSTANDER = 0.005  # share of the image above which a separate region is a person, not hair
_SIDE = 32  # px of the downscaled images that are compared
# Mean color difference (0..255) of successive images above which a new shot begins. Within one
# shot, also with a person walking, it stayed below 10.
_CUT = 18.0


class ShotChangeDetector:
    """Detects shot changes by the color difference of successive downscaled images."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None

    def __call__(self, image: np.ndarray) -> bool:
        """Whether `image`, (H, W, 3) uint8, begins a new shot; False for the first image."""
        small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)
        before, self._before = self._before, small
        return before is not None and float(cv2.absdiff(small, before).mean()) > _CUT


class RvmMatting:
    """`MattingModel` of RobustVideoMatting.

    Args:
        engine: inference engine of the network.
    """

    warm_up = 25  # one second; earlier frames no longer influence the recurrent state visibly

    def __init__(self, engine: MattingEngine) -> None:
        self.batch = engine.batch
        self._engine = engine
        self._is_cut = ShotChangeDetector()
        self._shape: tuple[int, ...] | None = None

    def begin(self, images: Sequence[np.ndarray]) -> list[Row]:
        """Run the network on the next frames, (H, W, 3) uint8 RGB each, and start the downloads."""
        begun: list[Row] = []
        for shot, fresh in self._shots(images):
            if fresh:
                self._engine.reset()
            begun += Download(self._engine.alphas(stack(shot))).rows()
        return begun

    def _shots(self, images: Sequence[np.ndarray]) -> Iterator[tuple[list[np.ndarray], bool]]:
        """(run of images of one shot and size, whether it begins a new shot)."""
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
        """The matte (H, W) uint8 without bystanders."""
        return remove_bystanders(begun.array())

    def close(self) -> None:
        """Do nothing: the engine is released with its last reference."""


def remove_bystanders(matte: np.ndarray) -> np.ndarray:
    """Clear large regions that are not connected to the subject; keep loose strands of hair.

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


def open_matting(options: MatteOptions) -> RvmMatting:
    """See `headsplat.masks.matting_models.MATTING_MODELS`; sets the numbers of threads."""
    torch.set_num_threads(available_threads())
    cv2.setNumThreads(1)  # frames are already processed on several threads
    return RvmMatting(open_rvm(options.weights, *shared_gpu(options.turn)))
