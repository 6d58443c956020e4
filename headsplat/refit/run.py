"""The stage `track_on_avatar`: a trained avatar and a track -> the track that fits the avatar."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headsplat.avatar_files import load_avatar
from headsplat.gaussians.raster.extension import serving_device
from headsplat.heads.model import HeadModel
from headsplat.refit.solve import Refit
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish, read_npz, write_npz
from headsplat.runtime.process import available_threads
from headsplat.runtime.scratch import Scratch, state_key
from headsplat.track import read_track, write_track
from headsplat.train.dataset import ImageReader

MODEL = "blendshapes"


def track_on_avatar(
    avatar_path: Path,
    head_path: Path,
    track_path: Path,
    frames: Sequence[Path],
    alpha: Sequence[Path],
    parsing: Sequence[Path],
    scratch_root: Path,
    out: Path,
    device_name: str,
    code: str,
) -> None:
    """Solve codes and poses of all frames on an avatar's renders, and publish the new track.

    Args:
        avatar_path: folder of the trained avatar.
        head_path: its head model.
        track_path: the track that it was trained on.
        frames: packed crops.
        alpha: packed mattes.
        parsing: packed head and mouth masks.
        scratch_root: folder of resumable state.
        out: track to write.
        device_name: auto, cpu or cuda.
        code: version of the code, part of the key of the state.

    Raises:
        UserError: inputs that do not belong together, or another deformation model.
    """
    torch.set_num_threads(available_threads())
    device = serving_device(device_name)
    head = HeadModel.load(head_path)
    track = read_track(track_path, head)
    avatar = load_avatar(avatar_path, head, device)
    if avatar.deformation.name != MODEL:
        raise UserError(
            f"{avatar_path}: this needs an avatar of the model {MODEL}, not "
            f"{avatar.deformation.name}; train one with train.model: {MODEL}"
        )
    reader = ImageReader(frames, alpha, parsing, track.width, track.height)
    usable = np.array([reader.has(int(frame)) for frame in track.ids]) & (track.status == "ok")
    inputs = [*sorted(path for path in avatar_path.iterdir() if path.is_file()), head_path]
    inputs += [track_path, *frames, *alpha, *parsing]
    scratch = Scratch(scratch_root, state_key(inputs, {"device": device.type}, code))

    def file(low: int) -> Path:
        return scratch.folder / f"{low:06d}.npz"

    def saved(low: int) -> Tensor | None:
        return torch.from_numpy(read_npz(file(low))["change"]) if file(low).exists() else None

    def save(low: int, change: Tensor) -> None:
        write_npz(file(low), change=change.cpu().numpy())

    with ThreadPoolExecutor(available_threads()) as pool:

        def images(rows: list[int]) -> Tensor:
            ids = [int(track.ids[row]) for row in rows]
            return torch.from_numpy(np.stack(list(pool.map(reader.read, ids))))

        solved = Refit(avatar, track, usable, images).solve(saved, save)
    reader.close()
    with publish(out) as temporary:
        write_track(temporary, solved)
    scratch.clear()
