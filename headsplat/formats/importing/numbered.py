"""Folders of numbered images: `00001.png`, `2.jpg`, `00001_mouth.png`."""

from pathlib import Path

from headsplat.frames.ids import frame_number
from headsplat.runtime.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg")


def numbered_images(folder: Path, role: str = "") -> dict[int, Path]:
    """Number -> image of every file `<number><role>.<png|jpg|jpeg>`; other names are skipped.

    Raises:
        UserError: no such folder, no such image in it, or one number twice.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: is not there; give the folder that holds it")
    found: dict[int, Path] = {}
    for file in sorted(folder.iterdir()):
        stem = file.stem.removesuffix(role) if file.stem.endswith(role) else ""
        number = frame_number(stem)
        if file.suffix.lower() not in SUFFIXES or number is None:
            continue
        twin = found.setdefault(number, file)
        if twin != file:
            raise UserError(f"{file}: has the same number as {twin.name}; remove one")
    if not found:
        raise UserError(f"{folder}: holds no images <number>{role}.png or .jpg")
    return found
