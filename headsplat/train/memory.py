"""Estimate of the peak GPU memory of training."""

from headsplat.avatar import Avatar
from headsplat.gaussians.deform.blendshapes import PER_GAUSSIAN
from headsplat.gaussians.deform.torso import CODE
from headsplat.train.crops import crop_size
from headsplat.train.dataset import PLANES
from headsplat.train.options import TORSO, TrainOptions
from headsplat.train.torso import torso_size

# Bytes of a training step, counted from tensors alive at once. Per pixel: image, alpha,
# transmittance, reached, gradients. Per Gaussian: attributes, their gradients, its splat, and sums
# for its usual strips. Per VGG feature: the half precision value and a copy for its gradient.
_PIXEL, _GAUSSIAN, _FEATURE = 60, 1500, 6
# VGG16 features of all thirteen convolutions per image pixel.
_FEATURES = 64 * 2 + 128 * 2 / 4 + 256 * 3 / 16 + 512 * 3 / 64 + 512 * 3 / 256
# Per parameter: value, gradient, two Adam moments, and the snapshot's three copies.
_PARAMETER = 7 * 4
# Per parameter of the head while the torso is trained: the value alone.
_VALUE = 4
# Per Gaussian of head and torso drawn together: their joined attributes and the gradients of these.
_JOINED = 2 * PER_GAUSSIAN * 4
# CUDA context, library workspaces, and allocator fragmentation.
_FIXED_MIB = 900


def training_mib(
    avatar: Avatar,
    options: TrainOptions,
    frames: int,
    size: tuple[int, int],
    lpips: bool,
    images_limit: int,
) -> float:
    """Estimated peak of a run, MiB.

    A torso is trained after the head, when the head's gradients and moments are freed. So the
    larger of both counts.

    Args:
        avatar: with its anchors and deformation.
        options: of the run.
        frames: training frames.
        size: height and width of the images.
        lpips: whether LPIPS is part of the loss.
        images_limit: limit of the images' memory, MiB.
    """
    height, width = size
    gaussians = len(avatar.anchors)
    per_gaussian = _GAUSSIAN + avatar.deformation.bytes_per_gaussian
    step = height * width * _PIXEL + gaussians * per_gaussian
    if lpips:
        step += crop_size(height, width) ** 2 * _FEATURES * _FEATURE
    parameters = sum(value.numel() for value in avatar.deformation.parameters())
    need = parameters * _PARAMETER + options.batch * step
    if options.body == TORSO:
        torso = torso_size(avatar)
        drawn = (gaussians + torso) * (_GAUSSIAN + _JOINED)
        own = (1 + CODE) * torso * PER_GAUSSIAN * _PARAMETER + parameters * _VALUE
        need = max(need, own + options.batch * (height * width * _PIXEL + drawn))
    need += frames * avatar.vertex_count * 12
    images = frames * height * width * PLANES / 2**20
    return _FIXED_MIB + min(images, images_limit) + need / 2**20
