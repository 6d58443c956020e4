"""A folder of `.frame` files as arrays, checked: `checkpoint/00000.frame`, `00001.frame`, ..."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headsplat.formats.frame import N_EXPRESSION, N_SHAPE, read_frame
from headsplat.formats.importing.clip import fit_codes
from headsplat.frames.ids import frame_number
from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.progress import progress

# How far R may be from a rotation: files are float32, and some tools round them.
ORTHONORMAL = 1e-3
_KEYS = {
    "shape": ("flame", "shape"), "exp": ("flame", "exp"), "jaw": ("flame", "jaw"),
    "eyes": ("flame", "eyes"), "eyelids": ("flame", "eyelids"), "R": ("opencv", "R"),
    "t": ("opencv", "t"), "K": ("opencv", "K"),
}  # fmt: skip


@dataclass(frozen=True)
class FrameFolder:
    """All frames of a folder, in order; frame k is `<k:05d>.frame`, k from 0.

    Attributes:
        files: (N,) the files.
        shape: (N, S) codes of the head model; exp (N, E); jaw (N, 6) and eyes (N, 12) as they
            are, not orthonormalized; eyelids (N, 2).
        R: (N, 3, 3) head to OpenCV camera; t (N, 3) metres; K (N, 3, 3) pixels.
        img_size: height, width.
    """

    files: tuple[Path, ...]
    shape: np.ndarray
    exp: np.ndarray
    jaw: np.ndarray
    eyes: np.ndarray
    eyelids: np.ndarray
    R: np.ndarray
    t: np.ndarray
    K: np.ndarray
    img_size: tuple[int, int]

    def drift(self, key: str) -> tuple[float, Path]:
        """Largest difference of an array from that of frame 0, and the file it is in."""
        value = getattr(self, key)
        off = np.abs(value - value[:1]).reshape(len(value), -1).max(1)
        return float(off.max()), self.files[int(off.argmax())]


def read_frame_folder(folder: Path, head: HeadModel) -> FrameFolder:
    """Read every `.frame` of a folder.

    Raises:
        UserError: no such files; a number that is missing, there twice, or not that of the
            `frame_id` inside; a file that `read_frame` refuses; codes of other lengths than the
            format's, or that the head model has no room for; R that is no rotation, 6D rows that
            span none, an image size that changes.
    """
    files = _numbered(folder)
    frames = []
    for number, file in enumerate(progress(files, len(files), "read frames")):
        frame = read_frame(file)
        inside = str(frame.get("frame_id", number))
        if frame_number(inside) != number:
            raise UserError(
                f"{file}: 'frame_id' is '{shown(inside)}', the name says {number}; rename it"
            )
        # Only what is wanted is kept: ten thousand whole frames are large.
        values = {name: frame[block][key] for name, (block, key) in _KEYS.items()}
        _check_lengths(file, values)
        frames.append((values, tuple(int(n) for n in frame["img_size"])))
        if frames[-1][1] != frames[0][1]:
            raise UserError(
                f"{file}: 'img_size' is {list(frames[-1][1])}, that of {files[0].name} is "
                f"{list(frames[0][1])}; frames of two runs are mixed, export them again"
            )
    arrays = {
        name: np.concatenate([values[name] for values, _ in frames]).astype(np.float64)
        for name in _KEYS
    }
    _check_rotations(files, arrays)
    for name, wanted, have in (
        ("shape", N_SHAPE, len(head.shape_std)),
        ("exp", N_EXPRESSION, len(head.expression_std)),
    ):
        arrays[name] = fit_codes(arrays[name], wanted, have, str(files[0]), f"flame.{name}")
    return FrameFolder(tuple(files), **arrays, img_size=frames[0][1])


def _numbered(folder: Path) -> list[Path]:
    """The `.frame` files in order of their numbers, which must be 0 .. N - 1."""
    files: dict[int, Path] = {}
    for file in sorted(folder.glob("*.frame")):
        number = frame_number(file.stem)
        if number is None:
            raise UserError(f"{file}: its name is not a frame number; rename or remove it")
        twin = files.setdefault(number, file)
        if twin != file:
            raise UserError(f"{file}: has the same number as {twin.name}; remove one")
    if not files:
        raise UserError(f"{folder}: holds no .frame files; give the folder that has them")
    missing = max(files) + 1 - len(files)
    if missing:
        first = next(number for number in range(len(files) + 1) if number not in files)
        raise UserError(
            f"{folder}/{first:05d}.frame: is missing, the folder goes up to {max(files):05d} "
            f"({missing} missing in all); track or export the clip again"
        )
    return [files[number] for number in range(len(files))]


def _check_lengths(file: Path, values: dict[str, np.ndarray]) -> None:
    for name, wanted in (("shape", N_SHAPE), ("exp", N_EXPRESSION)):
        count = values[name].shape[1]
        if count != wanted:
            raise UserError(
                f"{file}: 'flame.{name}' has {count} codes, a .frame has {wanted}; "
                "export it again with that many"
            )


def _check_rotations(files: list[Path], arrays: dict[str, np.ndarray]) -> None:
    R = arrays["R"]
    off = np.abs(R @ R.transpose(0, 2, 1) - np.eye(3)).max((1, 2))
    wrong = (off > ORTHONORMAL) | (np.linalg.det(R) < 0)
    if wrong.any():
        file = files[int(wrong.argmax())]
        raise UserError(f"{file}: 'opencv.R' is not a rotation; export the frame again")
    for name in ("jaw", "eyes"):
        rows = arrays[name].reshape(len(files), -1, 2, 3)
        area = np.linalg.norm(np.cross(rows[:, :, 0], rows[:, :, 1]), axis=-1)
        flat = (area < 1e-3).any(1)
        if flat.any():
            file = files[int(flat.argmax())]
            raise UserError(
                f"{file}: 'flame.{name}' is no 6D rotation (its two rows are parallel); "
                "export the frame again"
            )
