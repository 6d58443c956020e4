"""The packed track, `track.npz`: every frame's parameters, both forms of head motion, residuals.

Camera-moves form (R, t): the head stays in its canonical pose and an OpenCV camera moves,
x_cam = R x + t. Head-moves form (head_R, head_t, camera_R, camera_t): one still camera, and a
head that moves in its world, x_cam = camera_R (head_R x + head_t) + camera_t. With `neck`, that
head hangs on a trunk turned by head_R neck'; both forms are of the whole motion all the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz, write_npz

# One letter is one size: N frames, S identity and E expression coefficients, G landmark groups.
_SHAPES = {
    "ids": "N", "status": "N", "confidence": "N", "interpolated": "N", "shape": "S",
    "exp": "N E", "jaw": "N 6", "eyes": "N 12", "eyelids": "N 2", "R": "N 3 3", "t": "N 3",
    "K": "3 3", "img_size": "2", "head_R": "N 3 3", "head_t": "N 3", "camera_R": "3 3",
    "camera_t": "3", "residual_px": "N", "residual_iod": "N", "residual_group": "N G",
    "group_names": "G", "head_name": "", "head_version": "", "head_licence": "", "fps": "",
}  # fmt: skip
_NOT_FLOAT = {
    "ids": np.int32, "img_size": np.int64, "interpolated": bool,
    **dict.fromkeys(("status", "group_names", "head_name", "head_version", "head_licence"), str),
}  # fmt: skip
# Only in tracks that were asked for it.
_OPTIONAL = {"neck": "N 6"}
# Where a residual cannot exist (no face was seen) it is NaN; all else is finite.
_MAY_BE_NAN = ("residual_px", "residual_iod", "residual_group")


@dataclass(frozen=True)
class Track:
    """One clip's track; arrays as named in `track.npz`, floats float32.

    Attributes:
        ids: (N,) 1-based frame ids; status (N,) of the frame table; confidence (N,).
        interpolated: (N,) True where no face was seen and neighbors give the pose.
        shape: (S,); exp (N, E); jaw (N, 6) and eyes (N, 12 = left | right) 6D rows;
            eyelids (N, 2) left, right in 0..1.
        R, t: camera-moves form, metres; K (3, 3) pixels; img_size [height, width].
        head_R, head_t, camera_R, camera_t: head-moves form.
        residual_px: (N,) median distance between model and detected landmarks;
            residual_iod the same over the inter-ocular distance; residual_group (N, G).
        group_names: (G,).
        head_name, head_version, head_licence: of the head model.
        fps: frames a second.
        neck: (N, 6) 6D rows, the neck's part of head_R, or None.
    """

    ids: np.ndarray
    status: np.ndarray
    confidence: np.ndarray
    interpolated: np.ndarray
    shape: np.ndarray
    exp: np.ndarray
    jaw: np.ndarray
    eyes: np.ndarray
    eyelids: np.ndarray
    R: np.ndarray
    t: np.ndarray
    K: np.ndarray
    img_size: np.ndarray
    head_R: np.ndarray
    head_t: np.ndarray
    camera_R: np.ndarray
    camera_t: np.ndarray
    residual_px: np.ndarray
    residual_iod: np.ndarray
    residual_group: np.ndarray
    group_names: np.ndarray
    head_name: str
    head_version: str
    head_licence: str
    fps: float
    neck: np.ndarray | None = None

    def rows(self, ids: np.ndarray | list[int]) -> np.ndarray:
        """Row of each id; an id that the track lacks is a `UserError`."""
        order = np.argsort(self.ids)
        wanted = np.asarray(ids)
        place = np.searchsorted(self.ids, wanted, sorter=order)
        found = order[np.minimum(place, len(order) - 1)]
        missing = wanted[self.ids[found] != wanted]
        if len(missing):
            shown = ", ".join(map(str, missing[:10]))
            raise UserError(f"track: no frames with ids {shown}; remake the track")
        return found


def write_track(path: Path | str, track: Track) -> None:
    """Publish; a track that breaks the contract is refused as `read_track` would do."""
    arrays = {}
    for item in fields(track):
        if getattr(track, item.name) is None:
            continue
        kind = _NOT_FLOAT.get(item.name, np.float32)
        arrays[item.name] = np.asarray(getattr(track, item.name), dtype=kind)
    _validate(arrays, str(path))
    write_npz(path, **arrays)


def read_track(path: Path | str) -> Track:
    """Read and check every array.

    Raises:
        UserError: names the file, the array and what is wrong with it.
    """
    arrays = read_npz(path, tuple(_SHAPES))
    _validate(arrays, str(path))
    values = {name: arrays[name] for name in _SHAPES}
    for name in ("head_name", "head_version", "head_licence"):
        values[name] = str(values[name])
    values["fps"] = float(values["fps"])
    values |= {name: arrays[name] for name in _OPTIONAL if name in arrays}
    return Track(**values)


def check_head(track: Track, name: str, version: str) -> None:
    """A track is only valid with the head model that made it.

    Raises:
        UserError: another model, or another version of it.
    """
    if (track.head_name, track.head_version) != (name, version):
        raise UserError(
            f"the track was made with head model {track.head_name} {track.head_version}, "
            f"not {name} {version}; remake the track"
        )


def _validate(arrays: Mapping[str, np.ndarray], origin: str) -> None:
    sizes: dict[str, int] = {}
    given = {name: pattern for name, pattern in _OPTIONAL.items() if name in arrays}
    for name, pattern in (_SHAPES | given).items():
        value, tokens = arrays[name], pattern.split()
        expected = [int(t) if t.isdigit() else sizes.get(t, t) for t in tokens]
        if value.ndim != len(tokens) or any(
            isinstance(want, int) and want != have
            for want, have in zip(expected, value.shape, strict=True)
        ):
            raise UserError(
                f"{origin}: array '{name}' has shape {list(value.shape)}, expected "
                f"[{', '.join(map(str, expected))}]; remake the track"
            )
        sizes.update({t: n for t, n in zip(tokens, value.shape, strict=True) if not t.isdigit()})
        finite = value.dtype.kind != "f" or name in _MAY_BE_NAN or np.isfinite(value).all()
        if not finite:
            raise UserError(f"{origin}: array '{name}' is not finite; remake the track")


def head_moves(R: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, ...]:
    """Camera-moves form to head-moves form, exactly.

    The still camera looks straight at the head's origin from the clip's median distance.

    Args:
        R: (N, 3, 3) head to OpenCV camera.
        t: (N, 3) metres.

    Returns:
        head_R (N, 3, 3), head_t (N, 3), camera_R (3, 3), camera_t (3,), float64.
    """
    camera_R = np.diag([1.0, -1.0, -1.0])
    camera_t = np.array([0.0, 0.0, float(np.median(np.asarray(t, dtype=np.float64)[:, 2]))])
    head_R = camera_R.T @ np.asarray(R, dtype=np.float64)
    head_t = (np.asarray(t, dtype=np.float64) - camera_t) @ camera_R
    return head_R, head_t, camera_R, camera_t


def camera_moves(
    head_R: np.ndarray,
    head_t: np.ndarray,
    camera_R: np.ndarray,
    camera_t: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Head-moves form to camera-moves form, exactly.

    Args:
        head_R: (N, 3, 3) of the head in its world.
        head_t: (N, 3) metres.
        camera_R: (3, 3) world to OpenCV camera, or (N, 3, 3).
        camera_t: (3,) metres, or (N, 3).

    Returns:
        R (N, 3, 3) and t (N, 3), float64.
    """
    camera = np.asarray(camera_R, dtype=np.float64)
    moved = (camera @ np.asarray(head_t, dtype=np.float64)[..., None])[..., 0]
    return camera @ np.asarray(head_R, dtype=np.float64), moved + camera_t
