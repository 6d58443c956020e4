"""Gaussians that no training frame shows.

Nothing has taught them a color or a place. From views that the clip does not have they appear as
specks beside the head, so they are hidden after training.
"""

import torch
from torch import Tensor

from headsplat.gaussians.raster.gaussians import rasterize_gaussians
from headsplat.runtime.logs import log
from headsplat.train.prepare import spread_rows
from headsplat.train.step import HeadStep

# Frames that are looked at, and how many at once.
_FRAMES, _BATCH = 192, 8
# Largest splat weight over the frames, in pixels of an image 512 wide, below which a Gaussian
# counts as unseen.
_SEEN = 0.05


def unseen(step: HeadStep) -> Tensor:
    """(N,) bool, Gaussians that the training frames do not show.

    A render is linear in the colors, so its gradient with respect to them is the splat weight,
    summed over the pixels of a frame.

    Args:
        step: of a finished training.
    """
    frames, device = step.frames, step.avatar.device
    height, width = step.images.planes.shape[1:3]
    most = torch.zeros(step.count, device=device)
    rows = torch.tensor(spread_rows(len(frames.ids), _FRAMES), device=device)
    for some in rows.split(_BATCH):
        with torch.no_grad():
            gaussians = step.gaussians(some)
        means = gaussians.means
        colors = means.new_zeros(means.shape).requires_grad_(True)
        intrinsics = frames.intrinsics.expand(len(some), 4).contiguous()
        image, _ = rasterize_gaussians(
            means, gaussians.quats, gaussians.scales, gaussians.opacities, colors,
            frames.rotation[some], frames.translation[some], intrinsics, width, height,
            means.new_zeros(len(some), 3),
        )  # fmt: skip
        (weight,) = torch.autograd.grad(image, colors, torch.ones_like(image))
        most = torch.maximum(most, weight[..., 0].amax(0))
    hidden = most * (512 / width) ** 2 < _SEEN
    log.info("%d of %d Gaussians are in no training frame: hidden", int(hidden.sum()), step.count)
    return hidden
