"""An avatar's head model: a copy in its folder, or a reference where the licence forbids copies."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.fingerprint import file_digest
from headsplat.runtime.storage import unreadable

HEAD_FILE = "head.npz"
# Prefixes of licences that permit copies.
_FREE = "MIT"
_LONGEST_PATH = 300  # characters of a path in a message


def may_be_copied(head: HeadModel) -> bool:
    """Whether the head model's licence permits copies."""
    return head.licence.startswith(_FREE)


def pack_head(folder: Path, head: HeadModel, file: Path) -> dict[str, str]:
    """Copy a head model into `folder` if its licence permits.

    Args:
        folder: of the avatar.
        head: the head model.
        file: where it was read from.

    Returns:
        The file's SHA-256, and as `path` the copy's name or the absolute path of the user's file.
    """
    reference = {"sha256": file_digest(file), "path": str(file.absolute())}
    if may_be_copied(head):
        shutil.copyfile(file, folder / HEAD_FILE)
        reference["path"] = HEAD_FILE
    return reference


def packed_head(folder: Path, facts: Mapping[str, Any]) -> Path:
    """Path of an avatar's head model, with its hash checked.

    Args:
        folder: of the avatar.
        facts: content of `avatar.json`: `head` from `pack_head`, `head_name`, `head_version` and
            `head_licence`.

    Raises:
        UserError: the file is missing or has another hash.
    """
    if not all(isinstance(facts["head"].get(key), str) for key in ("path", "sha256")):
        raise UserError(f"{folder}: names no head model; name its .npz as `head`")
    name, version, licence = (facts[f"head_{key}"] for key in ("name", "version", "licence"))
    reference = facts["head"]
    copied = reference["path"] == HEAD_FILE
    path = folder / HEAD_FILE if copied else Path(reference["path"])
    try:
        there = path.is_file()
    except OSError:  # its name is too long
        there = False
    which = f"head model {shown(name)} {shown(version)}"
    if copied:
        if not there:
            raise UserError(f"{path}: is not there; copy the avatar's whole folder again")
        what = f"{path}: is damaged, it is not the {which} that the avatar was trained with"
        fix = "copy the avatar's whole folder again"
    else:
        terms = f"its licence ({shown(licence)}) does not permit a copy with the avatar"
        fix = "import the head model here, and name its .npz as `head`"
        if not there:
            missing = f"{shown(str(path), _LONGEST_PATH)} is not there"
            raise UserError(f"{folder}: needs the {which}, and {terms}: {missing}; {fix}")
        what = f"{path}: is not the {which} that the avatar {folder} was trained with"
        fix = "name the right .npz as `head`"
    try:
        digest = file_digest(path)
    except OSError as error:
        raise unreadable(error, path, "cannot be read", fix) from error
    if digest != reference["sha256"]:
        raise UserError(f"{what}; {fix}")
    return path
