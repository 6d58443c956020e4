"""Avatars from FlashAvatar checkpoints, to be rendered or trained further.

The file holds neither identity nor anchors nor camera: those are the track's and the head model's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headsplat.avatar import Avatar, save_avatar
from headsplat.formats.flashavatar.checkpoint import (
    Checkpoint,
    load_parameters,
    read_checkpoint,
    save_checkpoint,
    write_checkpoint,
)
from headsplat.frame_code import FrameCode
from headsplat.gaussians.anchors import texel_count
from headsplat.gaussians.deform.flashavatar import FlashAvatarDeformation
from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish_folder, write_json
from headsplat.runtime.logs import log
from headsplat.track import read_track
from headsplat.train.options import train_options
from headsplat.train.prepare import empty_avatar

# Sizes of the UV map that are tried to find the one a file was trained with.
_UV_SIZES = (32, 48, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256, 320, 384, 512)


def read_fitting(path: Path, head: HeadModel, uv_size: int) -> Checkpoint:
    """Read a checkpoint that must be of this head and size of the UV map.

    Raises:
        UserError: as `read_checkpoint`, or it has codes of another length or another number of
            Gaussians, with the size of the UV map that would give it.
    """
    checkpoint = read_checkpoint(path)
    size = FrameCode.size(head)
    if checkpoint.condition_size != size:
        rest = size - head.expression_basis.shape[2]
        raise UserError(
            f"{path}: deform[0]['fcs.0.weight'] takes codes of {checkpoint.condition_size} numbers "
            f"({checkpoint.condition_size - rest} expressions), head {head.name} has {size} "
            f"({size - rest}); name the head it was trained with"
        )
    count = texel_count(head, uv_size)
    if checkpoint.count != count:
        fitting = [n for n in _UV_SIZES if texel_count(head, n) == checkpoint.count]
        fix = f"it was trained with another head than {head.name} or another UV map; name those"
        if fitting:
            fix = f"set train.uv_size to {fitting[0]}, which has as many"
        raise UserError(
            f"{path}: gauss[2] (_features_dc) holds {checkpoint.count} Gaussians, a UV map of "
            f"{uv_size} texels a side {count}; {fix}"
        )
    return checkpoint


@torch.no_grad()
def load_checkpoint(avatar: Avatar, checkpoint: Checkpoint) -> None:
    """Give an avatar of the model flashavatar a fitting checkpoint's parameters and camera."""
    neutral = FrameCode.neutral(avatar.head, avatar.device)
    rest, _ = avatar.place(avatar.vertices(neutral.vector[None]))
    avatar.deformation.rest_positions.copy_(rest[0])
    load_parameters(avatar.deformation, checkpoint)
    avatar.centered = checkpoint.centered


@dataclass(frozen=True)
class CheckpointFormat:
    """The checkpoints of one published code.

    Attributes:
        read: (file, head model, the model's options) -> what it holds, if it fits; it has
            `iteration`, the training images seen.
        load: (avatar, what `read` gave): set the avatar's parameters.
        save: (folder, deformation, means, optimizer's state, images seen, centered): write it.
    """

    read: Callable[[Path, HeadModel, Any], Any]
    load: Callable[[Avatar, Any], None]
    save: Callable[..., None]


FLASHAVATAR = CheckpointFormat(
    lambda path, head, options: read_fitting(path, head, options.uv_size),
    load_checkpoint,
    save_checkpoint,
)


def import_avatar(
    head_path: Path, track_path: Path, checkpoint_path: Path, uv_size: int, out: Path
) -> None:
    """Publish an avatar's folder with what a checkpoint holds, as `train_avatar` would leave it.

    Args:
        head_path: head model `.npz`.
        track_path: `track.npz` of the subject; its identity and camera count.
        checkpoint_path: `chkpntN.pth`.
        uv_size: texels per side of the UV map.
        out: folder to publish.

    Raises:
        UserError: as `read_fitting`, or head and track do not belong together.
    """
    head = HeadModel.load(head_path)
    track = read_track(track_path, head)
    checkpoint = read_fitting(checkpoint_path, head, uv_size)
    none = np.zeros(0, np.int64)
    options = train_options(model=FlashAvatarDeformation.name, uv_size=uv_size)
    avatar = empty_avatar(head, track, none, options, torch.device("cpu"))
    load_checkpoint(avatar, checkpoint)
    facts = {
        "model": options.model,
        "gaussians": len(avatar.anchors),
        "steps": 0,
        "batch": 1,
        "images": 0,
        "frames": 0,
        "size": [track.width, track.height],
        "seconds": 0.0,
        "images_per_second": 0.0,
        "device": "no device",
        "device_name": "imported",
        "checkpoint": {"file": checkpoint_path.name, "iteration": checkpoint.iteration},
    }
    avatar.facts = facts
    with publish_folder(out) as folder:
        save_avatar(folder, avatar, head_path, track_path)
        write_json(folder / "training.json", facts | {"losses": {}})
        write_checkpoint(folder, checkpoint)
    log.info(
        "%d Gaussians after %d training images from %s",
        checkpoint.count, checkpoint.iteration, checkpoint_path,
    )  # fmt: skip
