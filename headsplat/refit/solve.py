"""Second round of tracking: codes and poses that make an avatar's renders match the images.

The avatar stays as it is. Windows of consecutive frames are solved one after the other by Adam.
Energy of a frame, with changes in units of their usual errors:

    image (the Huber loss of training) + PRIOR sum(change^2) + SMOOTH sum(psi(second difference))

`psi` is the pseudo-Huber function: it is quadratic for jitter and linear for real motion.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from headsplat.avatar import Avatar
from headsplat.gaussians.raster.gaussians import InstanceBudget
from headsplat.refit.place import differentiable_gaussians
from headsplat.refit.unknowns import Unknowns
from headsplat.runtime.heartbeat import beat
from headsplat.runtime.logs import log
from headsplat.runtime.progress import progress
from headsplat.track import Track
from headsplat.train.losses import image_loss

# Frames of a window on a GPU and on a CPU, steps, and Adam's rate. Half-size images do not help:
# the renderer's smoothing of small Gaussians is then another one than in training.
WINDOW_GPU, WINDOW_CPU = 32, 8
STEPS, RATE = 45, 0.12
PRIOR, SMOOTH, MOUTH = 4e-7, 2e-7, 10.0
FIRST_PAIRS = 8

# Row numbers of frames -> (n, H, W, 5) uint8 planes, see `headsplat.train.dataset`.
Images = Callable[[list[int]], Tensor]
# A window's first row -> its solved changes, if an interrupted run has saved them.
Saved = Callable[[int], "Tensor | None"]


@dataclass(frozen=True)
class Window:
    """Rows [low, high) of a track, which follow one another without a gap."""

    low: int
    high: int


def windows(ids: np.ndarray, usable: np.ndarray, size: int) -> list[Window]:
    """Runs of usable frames with consecutive ids, cut into windows of at most `size` frames.

    Args:
        ids: (N,) frame ids in ascending order.
        usable: (N,) bool.
        size: frames.
    """
    found, low = [], None
    for row in range(len(ids) + 1):
        goes_on = (
            row < len(ids)
            and usable[row]
            and low is not None
            and ids[row] == ids[row - 1] + 1
            and row - low < size
        )
        if goes_on:
            continue
        if low is not None:
            found.append(Window(low, row))
        low = row if row < len(ids) and usable[row] else None
    return found


class Refit:
    """Solves one clip.

    Args:
        avatar: a trained avatar; only its head is used.
        track: where the solve starts.
        usable: (N,) bool, frames that have images; the others keep their codes.
        images: reads the images of frames.
    """

    def __init__(self, avatar: Avatar, track: Track, usable: np.ndarray, images: Images) -> None:
        self._avatar, self._track, self._images = avatar, track, images
        self._device = avatar.device
        self._unknowns = Unknowns(avatar.head, track, self._device)
        self._intrinsics = track.intrinsics().to(self._device)
        gpu = self._device.type == "cuda"
        self._windows = windows(track.ids, usable, WINDOW_GPU if gpu else WINDOW_CPU)
        pairs = FIRST_PAIRS * len(avatar.anchors)
        self._budget = InstanceBudget(pairs, self._device) if gpu else None
        self._gray = torch.full((3,), 0.5, device=self._device)

    def solve(
        self,
        saved: Saved = lambda low: None,
        save: Callable[[int, Tensor], None] = lambda low, change: None,
    ) -> Track:
        """The solved track.

        Args:
            saved: see `Saved`.
            save: called with a window's first row and its changes when it is solved.
        """
        change = self._unknowns.start()
        kept = 0
        for window in progress(self._windows, len(self._windows), "windows"):
            rows = slice(window.low, window.high)
            known = saved(window.low)
            if known is None:
                known, rejected = self._solve_window(window, change)
                kept += rejected
                save(window.low, known)
            change[rows] = known.to(self._device)
        if kept:
            log.warning("%d frames keep their codes: the avatar matches them no better", kept)
        return self._unknowns.track(change)

    def _solve_window(self, window: Window, change: Tensor) -> tuple[Tensor, int]:
        """Changes of a window's frames, and how many frames were not improved."""
        planes = self._images(list(range(window.low, window.high))).to(self._device)
        while True:
            found, rejected = self._descend(window, change, planes)
            if self._budget is None or not self._budget.grow():
                return found, rejected

    def _descend(self, window: Window, change: Tensor, planes: Tensor) -> tuple[Tensor, int]:
        rows = torch.arange(window.low, window.high, device=self._device)
        moved = torch.zeros_like(change[rows]).requires_grad_(True)
        optimizer = torch.optim.Adam([moved], lr=RATE, eps=1e-12)
        with torch.no_grad():
            before = self._image_terms(moved, rows, planes)
        for step in range(STEPS):
            beat(f"frames {window.low} to {window.high - 1}, step", step, STEPS)
            optimizer.param_groups[0]["lr"] = RATE * (1 - step / STEPS) + 0.01 * RATE
            optimizer.zero_grad(set_to_none=True)
            image = self._image_terms(moved, rows, planes)
            (image.sum() + self._priors(moved, change, window)).backward()
            # A frame that cannot be drawn must not spoil its neighbors.
            finite = torch.isfinite(moved.grad).all(1, keepdim=True)
            moved.grad = torch.where(finite, moved.grad, 0.0)
            optimizer.step()
        moved = moved.detach()
        with torch.no_grad():
            after = self._image_terms(moved, rows, planes)
        better = after <= before
        return torch.where(better[:, None], moved, 0.0), int((~better).sum())

    def _image_terms(self, moved: Tensor, rows: Tensor, planes: Tensor) -> Tensor:
        """(n,) image losses of a window's frames."""
        poses = self._unknowns.poses(moved, rows)
        gaussians = differentiable_gaussians(
            self._avatar, poses.condition, poses.rotation, poses.translation, poses.trunk
        )
        height, width = planes.shape[1:3]
        background = self._gray.expand(len(rows), 3).contiguous()
        intrinsics = self._intrinsics.expand(len(rows), 4).contiguous()
        image, _ = self._avatar.rasterize(
            gaussians, poses.rotation, poses.translation, intrinsics, width, height, background,
            self._budget,
        )  # fmt: skip
        places = torch.arange(len(rows), device=self._device)
        return image_loss(image, planes, places, background, MOUTH)

    def _priors(self, moved: Tensor, change: Tensor, window: Window) -> Tensor:
        """Prior and smoothness of a window, which continues two solved frames before it."""
        low = max(window.low - 2, 0)
        ids = self._track.ids
        while low < window.low and ids[window.low] - ids[low] != window.low - low:
            low += 1
        path = self._unknowns.path(slice(low, window.high))
        path = path + torch.cat([change[low : window.low], moved])
        second = path[2:] - 2 * path[1:-1] + path[:-2]
        jitter = (torch.sqrt(1 + second.square()) - 1).sum()
        return PRIOR * moved.square().sum() + SMOOTH * jitter
