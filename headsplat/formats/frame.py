"""metrical-tracker's `.frame` files: reader and writer (a dict of numpy arrays in torch.save).

Pickles use the class names of numpy 1, so old and new environments load them with `torch.load(path,
weights_only=False)`. Here they are read as data, without running code
(`headsplat.runtime.pickles`).
"""

import io
import math
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from headsplat.runtime.errors import UserError, one_line
from headsplat.runtime.pickles.known_globals import read_plain
from headsplat.runtime.regular import read_regular
from headsplat.runtime.zips import BROKEN, UnpackBudget, read_member

N_EXPRESSION, N_SHAPE, N_TEXTURE = 100, 300, 140
_ROOT = "numpy._core."
_LARGEST = 64 << 20  # size limit in bytes; a usual file has 5 kB
# Largest image side, pixels.
_LONGEST_SIDE = 1 << 16
# Archive members that torch's reader requires beside the pickle.
_VERSION = b"3\n"
_SHAPES = {
    ("flame", "exp"): (1, -1), ("flame", "shape"): (1, -1), ("flame", "eyes"): (1, 12),
    ("flame", "eyelids"): (1, 2), ("flame", "jaw"): (1, 6), ("opencv", "R"): (1, 3, 3),
    ("opencv", "t"): (1, 3), ("opencv", "K"): (1, 3, 3),
}  # fmt: skip


class _Pickler(pickle._Pickler):  # the Python one: the C pickler's `save_global` is not open
    """Writes globals of `numpy._core` (numpy 2) under their older name, `numpy.core`."""

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = getattr(obj, "__module__", None) or ""
        if not module.startswith(_ROOT):
            super().save_global(obj, name)
            return
        old = "numpy.core." + module[len(_ROOT) :]
        self.write(pickle.GLOBAL + f"{old}\n{obj.__qualname__}\n".encode())
        self.memoize(obj)


def _pickled(frame: dict[str, Any]) -> bytes:
    """`frame` as a pickle of protocol 2, which torch.save writes too."""
    data = pickle.dumps(frame, protocol=2)
    # The C pickler is twenty times faster than `_Pickler`. Each global is spelled out once, before
    # any array's bytes, so its name can be replaced there.
    data = data.replace(
        b"cnumpy._core.multiarray\n_reconstruct\n", b"cnumpy.core.multiarray\n_reconstruct\n", 1
    )
    if _ROOT.encode() not in data:
        return data
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=2).dump(frame)
    return buffer.getvalue()


def p3d_camera(
    R: np.ndarray,
    t: np.ndarray,
    K: np.ndarray,
    img_size: tuple[int, int],
) -> dict[str, np.ndarray]:
    """PyTorch3D's form of an OpenCV camera, as metrical-tracker stores it.

    With D = diag(-1, -1, 1): R_p3d = R^T D (it acts on row vectors), T = D t; focal length and
    principal point in units of half the short side, the latter mirrored.

    Args:
        R: (3, 3) world to camera.
        t: (3,) meters.
        K: (3, 3) pixels with fx = fy.
        img_size: height, width.

    Returns:
        "R" (1, 6) first two rows of the matrix, "t" (1, 3), "fl" (1, 1), "pp" (1, 2), float32.
    """
    flip = np.array([-1.0, -1.0, 1.0])
    height, width = img_size
    half = min(height, width) / 2
    rotation = np.asarray(R, dtype=np.float64).T * flip
    center = np.array([K[0, 2] - width / 2, K[1, 2] - height / 2], dtype=np.float64)
    parts = {
        "R": rotation[:2].reshape(1, 6),
        "t": (flip * t)[None],
        "fl": np.array([[math.sqrt(K[0, 0] * K[1, 1]) / half]]),
        "pp": -center[None] / half,
    }
    return {key: value.astype(np.float32) for key, value in parts.items()}


def opencv_camera(
    camera: dict[str, np.ndarray], img_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The inverse of `p3d_camera`: R (3, 3), t (3,), K (3, 3), float64."""
    flip = np.array([-1.0, -1.0, 1.0])
    height, width = img_size
    half = min(height, width) / 2
    first, second = np.asarray(camera["R"], dtype=np.float64).reshape(2, 3)
    first = first / np.linalg.norm(first)
    second = second - (first @ second) * first
    second = second / np.linalg.norm(second)
    rotation = (np.stack([first, second, np.cross(first, second)]) * flip).T
    focal = float(camera["fl"][0, 0]) * half
    center = np.array([width, height]) / 2 - np.asarray(camera["pp"], dtype=np.float64)[0] * half
    matrix = np.array([[focal, 0, center[0]], [0, focal, center[1]], [0, 0, 1]])
    return rotation, flip * np.asarray(camera["t"], dtype=np.float64)[0], matrix


def frame_dict(
    index: int,
    shape: np.ndarray,
    exp: np.ndarray,
    jaw: np.ndarray,
    eyes: np.ndarray,
    eyelids: np.ndarray,
    R: np.ndarray,
    t: np.ndarray,
    K: np.ndarray,
    img_size: tuple[int, int],
) -> dict[str, Any]:
    """One frame's dictionary; codes shorter than FLAME's are padded with zeros.

    Args:
        index: 0-based: `00000.frame` belongs to image id 1.
        shape: (S,) identity; exp (E,); jaw (6,); eyes (12,); eyelids (2,).
        exp: see `shape`.
        jaw: see `shape`.
        eyes: see `shape`.
        eyelids: see `shape`.
        R: (3, 3) head to OpenCV camera.
        t: (3,) meters.
        K: (3, 3) pixels.
        img_size: height, width.

    Raises:
        UserError: more coefficients than the format has room for.
    """

    def row(values: np.ndarray, length: int, what: str) -> np.ndarray:
        if len(values) > length:
            raise UserError(
                f"{len(values)} {what} coefficients do not fit into the {length} of a .frame; "
                "use a head model with fewer"
            )
        padded = np.zeros((1, length), dtype=np.float32)
        padded[0, : len(values)] = values
        return padded

    return {
        "flame": {
            "exp": row(exp, N_EXPRESSION, "expression"),
            "shape": row(shape, N_SHAPE, "identity"),
            "tex": np.zeros((1, N_TEXTURE), dtype=np.float32),
            "sh": np.zeros((1, 9, 3), dtype=np.float32),
            "eyes": row(eyes, 12, "eye"),
            "eyelids": row(eyelids, 2, "eyelid"),
            "jaw": row(jaw, 6, "jaw"),
        },
        "camera": p3d_camera(R, t, K, img_size),
        "opencv": {
            "R": np.asarray(R, dtype=np.float32)[None],
            "t": np.asarray(t, dtype=np.float32)[None],
            "K": np.asarray(K, dtype=np.float32)[None],
        },
        "img_size": np.array(img_size, dtype=np.int64),
        "frame_id": f"{index:05d}",
        "global_step": 0,
    }


def write_frame(path: Path, frame: dict[str, Any]) -> None:
    """Write one `.frame`; the caller publishes its folder atomically."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in (("data.pkl", _pickled(frame)), ("version", _VERSION)):
            # A fixed date, so that equal frames give equal bytes.
            archive.writestr(zipfile.ZipInfo(f"{path.stem}/{name}"), data)
    path.write_bytes(buffer.getvalue())


def read_frame(path: Path | str) -> dict[str, Any]:
    """Read a `.frame` of any tracker that follows the format; nothing in it is executed.

    Raises:
        UserError: not such an archive, a class other than numpy arrays, or an array that is missing
            or of the wrong shape.
    """
    try:
        # Read at once, because zip access reads both ends and the middle.
        content = read_regular(path, _LARGEST)
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            found = [i for i in archive.infolist() if i.filename.rsplit("/", 1)[-1] == "data.pkl"]
            if len(found) != 1:
                raise UserError(f"{path}: not a .frame archive of torch.save; export it again")
            data = read_member(archive, found[0], UnpackBudget(len(content)))
        frame = read_plain(bytes(data))
    except BROKEN as error:
        reason = one_line(error)
        raise UserError(f"{path}: refused as a .frame ({reason}); export it again") from error
    _check(path, frame)
    return frame


def _check(path: Path | str, frame: Any) -> None:
    for (block, name), shape in _SHAPES.items():
        members = frame.get(block) if isinstance(frame, dict) else None
        value = members.get(name) if isinstance(members, dict) else None
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiu":
            raise UserError(f"{path}: '{block}.{name}' is missing; export the frame again")
        if len(value.shape) != len(shape) or any(
            want not in (-1, have) for want, have in zip(shape, value.shape, strict=True)
        ):
            raise UserError(
                f"{path}: '{block}.{name}' has shape {list(value.shape)}, expected "
                f"{[w if w > 0 else 'n' for w in shape]}; export the frame again"
            )
        if not np.isfinite(value).all():
            raise UserError(f"{path}: '{block}.{name}' is not finite; export the frame again")
    size = frame.get("img_size")
    if not _is_size(size):
        raise UserError(f"{path}: 'img_size' is not [height, width]; export the frame again")


def _is_size(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return False
    numbers = [n.item() if isinstance(n, np.generic) else n for n in value]
    return all(type(n) in (int, float) and 1 <= n <= _LONGEST_SIDE for n in numbers)
