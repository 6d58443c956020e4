"""Folders of `.frame` files (`checkpoint/00000.frame`, `00001.frame`, ...): reader and writer.

metrical-tracker writes them and FlashAvatar reads them. This module also matches frames with
images.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headsplat.formats.flame import fit_codes, require_flame
from headsplat.formats.frame import N_EXPRESSION, N_SHAPE, frame_dict, read_frame, write_frame
from headsplat.formats.importing.clip import ImportOptions, make_track
from headsplat.frames.ids import frame_number
from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.files import publish_folder
from headsplat.runtime.progress import progress
from headsplat.track import Track, read_track

# Tolerance of R as a rotation: files are float32, and some tools round them.
ORTHONORMAL = 1e-3
# Tolerance of shape and camera, which must be constant over a clip.
SHAPE_DRIFT, CAMERA_DRIFT = 1e-3, 1.0  # codes, pixels
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
        R: (N, 3, 3) head to OpenCV camera; t (N, 3) meters; K (N, 3, 3) pixels.
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
        UserError: no such files; a frame number that is missing, duplicate, or different from
            `frame_id`; a file that `read_frame` refuses; codes of the wrong length, or that the
            head model lacks; an invalid rotation; a changing image size.
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
        # Keep only the needed arrays, because ten thousand whole frames are large.
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


def check_head_of_frames(options: ImportOptions, tool: str) -> tuple[str, ...]:
    """Check that the head matches: FLAME 2020, or the head model of a headsplat export."""
    if options.head.name == "flame":
        require_flame(options, "2020", tool)
        return ()
    return (
        f"The codes are taken as those of the head '{options.head.name}', as headsplat exports.",
    )


def match_images(
    frames: FrameFolder, images: Mapping[int, Path], offset: int, where: Path
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Rows of frames with an image, and a note about frames at the ends without one.

    Raises:
        UserError: an image in between is missing, or no frame has one.
    """
    there = np.array([number + offset in images for number in range(len(frames.files))])
    rows = np.flatnonzero(there)
    if not len(rows):
        raise UserError(
            f"{where}: with frame_delta {offset} no image belongs to any .frame; state another "
            "in the column 'frame_delta'"
        )
    gaps = np.flatnonzero(~there[rows[0] : rows[-1] + 1])
    if len(gaps):
        row = int(rows[0] + gaps[0])
        raise UserError(
            f"{where}: the image {row + offset:05d} of {frames.files[row].name} is missing "
            f"({len(gaps)} in all); put it back or remove the frames from there on"
        )
    left = len(there) - len(rows)
    note = (f"{left} frames at the ends have no image and were left out.",) if left else ()
    return rows, note


def track_of_frames(frames: FrameFolder, rows: np.ndarray, options: ImportOptions) -> Track:
    """The track of some rows; shape and K are those of frame 0, as in FlashAvatar."""
    return make_track(
        options.head, rows + 1, frames.shape[0], frames.exp[rows], frames.jaw[rows],
        frames.eyes[rows], frames.eyelids[rows], frames.R[rows], frames.t[rows], frames.K[0],
        frames.img_size,
    )  # fmt: skip


def export_frames(track_path: Path, out: Path) -> None:
    """Publish the folder `out`; `00000.frame` belongs to image id 1.

    Args:
        track_path: packed track.
        out: folder to write; one that exists is replaced.

    Raises:
        UserError: a broken track, or more coefficients than a `.frame` holds.
    """
    track = read_track(track_path)
    size = (int(track.img_size[0]), int(track.img_size[1]))
    with publish_folder(out) as folder:
        for row, frame_id in enumerate(progress(track.ids.tolist(), len(track.ids), "frames")):
            index = frame_id - 1
            frame = frame_dict(
                index, track.shape, track.exp[row], track.jaw[row], track.eyes[row],
                track.eyelids[row], track.R[row], track.t[row], track.K, size,
            )  # fmt: skip
            write_frame(folder / f"{index:05d}.frame", frame)
