"""What training asks of a GPU's memory, estimated before it is asked for."""

from headsplat.avatar import Avatar
from headsplat.gaussians.deform.flashavatar import HIDDEN, WIDTH, FlashAvatarDeformation
from headsplat.train.crops import crop_size
from headsplat.train.dataset import PLANES
from headsplat.train.options import TrainOptions

# Bytes of a step, counted from the tensors that are alive at once: a pixel (image, alpha,
# transmittance, reached, gradients), a Gaussian (its attributes and their gradients, its splat,
# sums for the strips it usually meets), a feature of VGG (kept in half precision, and a second
# copy that its gradient passes through).
_PIXEL, _GAUSSIAN, _FEATURE = 60, 1500, 6
# Features of VGG16's thirteen convolutions for one pixel of the image.
_FEATURES = 64 * 2 + 128 * 2 / 4 + 256 * 3 / 16 + 512 * 3 / 64 + 512 * 3 / 256
# A parameter is kept with its gradient, two moments and their three copies.
_PARAMETER = 7 * 4
# CUDA itself, libraries' workspaces, and what the allocator cannot give back.
_FIXED_MIB = 900


def training_mib(
    avatar: Avatar,
    options: TrainOptions,
    frames: int,
    size: tuple[int, int],
    lpips: bool,
    images_limit: int,
) -> float:
    """Estimate of a run's peak, MiB.

    Args:
        avatar: with its anchors and deformation.
        options: of the run.
        frames: training frames.
        size: height and width of the images.
        lpips: whether LPIPS is part of the loss.
        images_limit: MiB that images may take.
    """
    height, width = size
    gaussians = len(avatar.anchors)
    step = height * width * _PIXEL + gaussians * _GAUSSIAN
    if options.model == FlashAvatarDeformation.name:
        step += gaussians * WIDTH * 2 * (HIDDEN + 2)
    if lpips:
        step += crop_size(height, width) ** 2 * _FEATURES * _FEATURE
    parameters = sum(value.numel() for value in avatar.deformation.parameters())
    fixed = parameters * _PARAMETER + frames * avatar.vertex_count * 12
    images = frames * height * width * PLANES / 2**20
    return _FIXED_MIB + min(images, images_limit) + (fixed + options.batch * step) / 2**20
