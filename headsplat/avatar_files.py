"""The files of a trained avatar: saving and loading.

The folder of an avatar holds
    avatar.npz   arrays only: anchors, identity, the parameters of deformation and torso
    avatar.json  what they are: model, sizes, the head model's name, version and licence, training
    head.npz     the head model, if its licence permits copies; else avatar.json names the file
    track.npz    the track of the clip that the avatar was trained on
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headsplat.avatar import Avatar
from headsplat.frame_code import FrameCode
from headsplat.gaussians.anchors import Anchors
from headsplat.gaussians.deform.base import Deformation
from headsplat.gaussians.deform.registry import build_deformation
from headsplat.gaussians.deform.torso import Torso
from headsplat.gaussians.raster.extension import serving_device
from headsplat.heads.model import HeadModel
from headsplat.heads.packed import pack_head, packed_head
from headsplat.runtime.checks import as_float32
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.files import read_json, read_npz, write_json, write_npz

FORMAT = 3
ARRAYS_FILE, METADATA_FILE, TRACK_FILE = "avatar.npz", "avatar.json", "track.npz"
# Required keys of `avatar.json` and their types.
_METADATA_TYPES = {
    "model": str, "torso": int, "settings": dict, "training": dict, "head": dict,
    **dict.fromkeys(("head_name", "head_version", "head_licence"), str),
}  # fmt: skip
_TORSO = "torso/"  # prefix of its arrays
_LONGEST_REASON = 160  # characters of PyTorch's message


def save_avatar(folder: Path | str, avatar: Avatar, head: Path | str, track: Path | str) -> None:
    """Write the files of an avatar into `folder`.

    Args:
        folder: existing folder.
        avatar: the avatar to save.
        head: file of its head model.
        track: `track.npz` of the clip it was trained on.
    """
    folder = Path(folder)
    anchors = avatar.anchors
    state = {
        f"state/{key}": value.detach().cpu().numpy()
        for key, value in avatar.deformation.state_dict().items()
    }
    torso = {} if avatar.torso is None else avatar.torso.arrays()
    write_npz(
        folder / ARRAYS_FILE,
        anchor_face=anchors.face,
        anchor_barycentric=anchors.barycentric,
        anchor_height=anchors.height,
        shape=avatar.shape.cpu().numpy(),
        **state,
        **{_TORSO + name: value for name, value in torso.items()},
    )
    shutil.copyfile(track, folder / TRACK_FILE)
    facts = {
        "format": FORMAT,
        "model": avatar.deformation.name,
        "settings": avatar.deformation.settings(),
        "gaussians": len(anchors),
        "torso": 0 if avatar.torso is None else avatar.torso.count,
        "centered": avatar.centered,
        "condition_size": FrameCode.size(avatar.head),
        "head_name": avatar.head.name,
        "head_version": avatar.head.version,
        "head_licence": avatar.head.licence,
        "head": pack_head(folder, avatar.head, Path(head)),
        "training": avatar.facts,
    }
    write_json(folder / METADATA_FILE, facts)


def load_avatar(
    folder: Path | str,
    head: HeadModel | Path | str | None = None,
    device: torch.device | str = "auto",
) -> Avatar:
    """Read an avatar that `save_avatar` wrote.

    Args:
        folder: `results/<subject>/avatar`, or the folder `model` in it.
        head: the head model or its `.npz`; None takes the one in the folder or named in
            `avatar.json`.
        device: "auto" takes a GPU if the compiled operators support it.

    Raises:
        UserError: a file or array is missing or damaged, the format version differs, it was
            trained with another head model, the head model is missing, or there is no such device.
    """
    folder = model_folder(folder)
    facts = read_metadata(folder)
    if not isinstance(head, HeadModel):
        head = HeadModel.load(packed_head(folder, facts) if head is None else head)
    trained_with = (facts["head_name"], facts["head_version"])
    if trained_with != (head.name, head.version):
        raise UserError(
            f"{folder}: trained with head {shown(' '.join(trained_with))}, not {head.name} "
            f"{head.version}; give the head it was trained with"
        )
    arrays = read_npz(
        folder / ARRAYS_FILE,
        ("anchor_face", "anchor_barycentric", "anchor_height", "shape"),
        _remake_hint(folder),
    )
    anchors, shape = _checked_arrays(folder / ARRAYS_FILE, arrays, head)
    deformation = _restored(folder / ARRAYS_FILE, facts, arrays, head, len(anchors))
    device = _chosen(device)
    return Avatar(
        head, shape, anchors, deformation, device, facts["training"],
        facts.get("centered", False), folder, _torso(folder / ARRAYS_FILE, facts, arrays),
    )  # fmt: skip


def _chosen(device: torch.device | str) -> torch.device:
    """The torch device; `UserError` where there is none of this name."""
    if device == "auto":
        return serving_device("auto")
    try:
        chosen = torch.device(device)
    except RuntimeError:  # no such name
        chosen = None
    there = chosen is not None and (
        chosen.type == "cpu"
        or (chosen.type == "cuda" and (chosen.index or 0) < torch.cuda.device_count())
    )
    if chosen is None or not there:
        known = ", ".join(["auto", "cpu", *(f"cuda:{k}" for k in range(torch.cuda.device_count()))])
        raise UserError(f"device '{shown(str(device))}': not on this machine; one of {known}")
    return chosen


def _checked_arrays(
    path: Path, arrays: Mapping[str, np.ndarray], head: HeadModel
) -> tuple[Anchors, Tensor]:
    """Anchors and identity; `UserError` for arrays that do not fit the head."""
    face = arrays["anchor_face"]
    count, identity = face.size, head.shape_basis.shape[2]
    faces = face.ndim == 1 and face.dtype.kind in "iu" and count > 0
    if not (faces and face.min() >= 0 and face.max() < len(head.faces)):
        raise _broken(path, "anchor_face", f"expected rows of the head's {len(head.faces)} faces")
    sizes = {"anchor_barycentric": (count, 3), "anchor_height": (count,), "shape": (identity,)}
    values = {"anchor_face": face.astype(np.int32)}
    for name, size in sizes.items():
        value = arrays[name]
        fits = value.shape == size and value.dtype.kind in "fiu"
        single = as_float32(value) if fits else None
        if single is None:
            raise _broken(path, name, f"expected finite numbers of shape {list(size)}")
        values[name] = single
    parts = (values[name] for name in ("anchor_face", "anchor_barycentric", "anchor_height"))
    return Anchors(*parts), torch.from_numpy(values["shape"])


def _restored(
    path: Path,
    facts: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    head: HeadModel,
    count: int,
) -> Deformation:
    """The trained deformation; `UserError` for settings and arrays that do not fit."""
    expected = {"count": count, "condition_size": FrameCode.size(head)}
    for key, value in expected.items():
        if facts["settings"].get(key, value) != value:
            found = shown(str(facts["settings"][key]))
            raise UserError(
                f"{path.with_name(METADATA_FILE)}: '{key}' of its settings is {found}, its arrays "
                f"and head have {value}; train the avatar again"
            )
    state = {}
    for key, value in arrays.items():
        if not key.startswith("state/"):
            continue
        if value.dtype.kind not in "fiub" or as_float32(value) is None:
            raise _broken(path, key, "expected finite numbers")
        native = value.astype(value.dtype.newbyteorder("="), copy=False)
        state[key.removeprefix("state/")] = torch.from_numpy(np.ascontiguousarray(native))
    settings = facts["model"], facts["settings"]
    try:
        # First without memory, because damaged settings may ask for any amount.
        with torch.device("meta"):
            empty = build_deformation(*settings)
        empty.load_state_dict({key: value.to("meta") for key, value in state.items()})
    except RuntimeError as error:
        reason = shown(str(error).splitlines()[-1].strip(), _LONGEST_REASON)
        raise UserError(f"{path}: {reason}; train the avatar again") from error
    deformation = build_deformation(*settings)
    deformation.load_state_dict(state)
    return deformation.eval()


def _torso(path: Path, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Torso | None:
    """The torso, if there is one; `UserError` for damaged arrays."""
    own = {k.removeprefix(_TORSO): v for k, v in arrays.items() if k.startswith(_TORSO)}
    if not own and facts["torso"] == 0:
        return None
    try:
        torso = Torso.restored(own)
        if torso.count != facts["torso"]:
            expected = shown(str(facts["torso"]))
            raise ValueError(f"expected {expected} Gaussians, found {torso.count}")
    except ValueError as error:
        raise UserError(f"{path}: the torso is damaged, {error}; train the avatar again") from error
    return torso


def _broken(path: Path, name: str, what: str) -> UserError:
    return UserError(
        f"{path}: the array '{shown(name)}' is damaged, {what}; train the avatar again"
    )


def model_folder(folder: Path | str) -> Path:
    """The folder with an avatar's files: `folder`, `folder`/model or `folder`/avatar/model.

    Raises:
        UserError: none of them holds an avatar.
    """
    for place in (Path(folder), Path(folder, "model"), Path(folder, "avatar", "model")):
        if (place / METADATA_FILE).is_file():
            return place
    raise UserError(f"{folder}: holds no avatar ({METADATA_FILE}); give results/<subject>/avatar")


def read_metadata(folder: Path) -> dict[str, Any]:
    """Read and check `avatar.json` of an avatar's folder.

    Raises:
        UserError: it cannot be read, or its format version differs.
    """
    facts = read_json(folder / METADATA_FILE, _remake_hint(folder))
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        found = facts.get("format") if isinstance(facts, dict) else None
        raise UserError(
            f"{folder / METADATA_FILE}: format {shown(repr(found))}, this version reads {FORMAT}; "
            "train the avatar again"
        )
    for key, kind in _METADATA_TYPES.items():
        if not isinstance(facts.get(key), kind):
            raise UserError(
                f"{folder / METADATA_FILE}: '{key}' is missing or broken; train the avatar again"
            )
    if not isinstance(facts.get("centered", False), bool):
        raise UserError(f"{folder / METADATA_FILE}: 'centered' is broken; train the avatar again")
    return facts


def _remake_hint(folder: Path) -> str:
    return f"delete {folder}, and the same command makes it again"
