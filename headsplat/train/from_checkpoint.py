"""Import of FlashAvatar checkpoints as avatars, to render or to continue training.

A checkpoint has no identity, anchors or camera; these come from the track and the head model.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headsplat.avatar import Avatar
from headsplat.avatar_files import save_avatar
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

# Sizes of the UV map tried when the number of Gaussians does not match.
_UV_SIZES = (32, 48, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256, 320, 384, 512)


def read_fitting(path: Path, head: HeadModel, uv_size: int) -> Checkpoint:
    """Read a checkpoint that must match the head model and the size of the UV map.

    Raises:
        UserError: as `read_checkpoint`, or the code length or the number of Gaussians differs; the
            message suggests a matching UV size.
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
    """Load a checkpoint's parameters and camera convention into a `flashavatar` avatar."""
    neutral = FrameCode.neutral(avatar.head, avatar.device)
    rest, _ = avatar.place(avatar.vertices(neutral.vector[None]))
    avatar.deformation.rest_positions.copy_(rest[0])
    load_parameters(avatar.deformation, checkpoint)
    avatar.centered = checkpoint.centered


@dataclass(frozen=True)
class CheckpointFormat:
    """A checkpoint format of published code.

    Attributes:
        read: (file, head model, the model's options) -> checked content, with `iteration`, the
            number of training images seen.
        load: (avatar, content): set the avatar's parameters.
        save: (folder, deformation, means, optimizer state, images seen, centered): write the file.
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
    """Publish an avatar from a checkpoint, in the layout of `train_avatar`.

    Args:
        head_path: head model `.npz`.
        track_path: `track.npz` of the subject, for identity and camera.
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
