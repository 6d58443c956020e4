"""The packed track, `track.npz`: per-frame FLAME-like parameters, head poses and residuals.

Arrays are numpy arrays, as in the file. PyTorch is imported only by methods that return tensors, so
exports run without it.

Camera-moves form (R, t): the head stays in its canonical pose and an OpenCV camera moves,
x_cam = R x + t. Head-moves form (head_R, head_t, camera_R, camera_t): one still camera, and a
head that moves in its world, x_cam = camera_R (head_R x + head_t) + camera_t. Both hold the whole
motion of the head, with or without a trunk.

Trunk (trunk_R, trunk_t), where it was solved: x_cam = trunk_R x + trunk_t, with x in the head's
canonical pose and the trunk at rest below it. Equal poses of head and trunk are a neutral neck.
`neck` is the turn between them: R = trunk_R neck.
"""

import operator
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, overload

import numpy as np

from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.files import read_npz, write_npz
from headsplat.runtime.storage import AGAIN
from headsplat.track_arrays import NOT_FLOAT, OPTIONAL, SHAPES, native, require_valid

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from headsplat.frame_code import FrameCode

# A damaged track may be a file of the user's own, such as a motion.
_FIX = f"give a track.npz; if the workflow made it, {AGAIN}"
_USER_FIX = "give a whole track.npz"


@dataclass(frozen=True, eq=False)
class Frame:
    """Rendering inputs of one frame, or of a batch with leading dimension B: code, pose and camera.

    Attributes:
        id: the frame's 1-based id, or (B,) ids.
        code: (C,) or (B, C).
        rotation: (3, 3) or (B, 3, 3) head to OpenCV camera.
        translation: (3,) or (B, 3) meters.
        intrinsics: (4,) fx, fy, cx, cy in pixels.
        width: of the image in pixels.
        height: of the image in pixels.
        trunk: (3, 4) or (B, 3, 4) trunk to head, meters; None where it is stiff under the head.
    """

    id: "int | np.ndarray"
    code: "FrameCode"
    rotation: "Tensor"
    translation: "Tensor"
    intrinsics: "Tensor"
    width: int
    height: int
    trunk: "Tensor | None" = None

    def with_code(self, code: "FrameCode") -> "Frame":
        """The same pose and camera with another code."""
        return replace(self, code=code)


@dataclass(frozen=True, eq=False)
class Track:
    """One clip's track; arrays as named in `track.npz`, floats float32.

    `len(track)` is the number of frames, `track[k]` the k-th `Frame`, and `track[a:b]` the track of
    some frames; so is `track[rows]` with an array of row numbers.

    Attributes:
        ids: (N,) 1-based frame ids; status (N,) of the frame table; confidence (N,).
        interpolated: (N,) True where no face was detected and the pose is interpolated.
        shape: (S,); exp (N, E); jaw (N, 6) and eyes (N, 12 = left | right) 6D rows;
            eyelids (N, 2) left, right in 0..1.
        R, t: camera-moves form, meters; K (3, 3) pixels; img_size [height, width].
        head_R, head_t, camera_R, camera_t: head-moves form.
        residual_px: (N,) median distance between model and detected landmarks;
            residual_iod the same over the inter-ocular distance; residual_group (N, G).
        group_names: (G,).
        head_name, head_version, head_licence: of the head model.
        fps: frames a second.
        neck: (N, 6) 6D rows of trunk_R' R, or None.
        trunk_R, trunk_t: (N, 3, 3), (N, 3) trunk to camera, meters, both or None.
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
    trunk_R: np.ndarray | None = None
    trunk_t: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, rows: int) -> Frame: ...
    @overload
    def __getitem__(self, rows: "slice | np.ndarray") -> "Track": ...
    def __getitem__(self, rows: "int | slice | np.ndarray") -> "Frame | Track":
        if not isinstance(rows, slice | np.ndarray):
            return self._frame(operator.index(rows))
        per_frame = [name for name, shape in (SHAPES | OPTIONAL).items() if shape.startswith("N")]
        values = {name: getattr(self, name) for name in per_frame}
        return replace(self, **{k: v[rows] for k, v in values.items() if v is not None})

    def _frame(self, row: int) -> Frame:
        from headsplat.frame_code import FrameCode

        if not -len(self) <= row < len(self):
            raise IndexError(f"frame {row} of a track of {len(self)} frames")
        row %= len(self)
        batch = self[row : row + 1].frames()
        code = FrameCode(batch.code.vector[0])
        pose = batch.rotation[0], batch.translation[0]
        trunk = None if batch.trunk is None else batch.trunk[0]
        camera = batch.intrinsics, self.width, self.height
        return Frame(int(self.ids[row]), code, *pose, *camera, trunk)

    @property
    def width(self) -> int:
        """Of the images in pixels."""
        return int(self.img_size[1])

    @property
    def height(self) -> int:
        """Of the images in pixels."""
        return int(self.img_size[0])

    def codes(self, dtype: "torch.dtype | None" = None) -> "FrameCode":
        """Codes of all frames, (N, C) float32 or `dtype`."""
        import torch

        from headsplat.frame_code import FrameCode

        parts = (self.exp, self.jaw, self.eyes, self.eyelids)
        return FrameCode.pack(*(_tensor(part, dtype or torch.float32) for part in parts))

    def poses(self, dtype: "torch.dtype | None" = None) -> "tuple[Tensor, Tensor]":
        """Head to OpenCV camera: R (N, 3, 3) and t (N, 3) meters, float32 or `dtype`."""
        import torch

        return _tensor(self.R, dtype or torch.float32), _tensor(self.t, dtype or torch.float32)

    def trunk(self) -> "Tensor | None":
        """(N, 3, 4) float32: points of the resting trunk to the head's canonical frame, meters.

        None of a track without a trunk, which is stiff under the head: the identity.
        """
        if self.trunk_R is None or self.trunk_t is None:
            return None
        import torch

        R, t = self.poses(torch.float64)
        back = R.transpose(-1, -2)
        turned = back @ _tensor(self.trunk_R, torch.float64)
        moved = back @ (_tensor(self.trunk_t, torch.float64) - t)[..., None]
        return torch.cat([turned, moved], -1).float()

    def intrinsics(self) -> "Tensor":
        """(4,) fx, fy, cx, cy in pixels, float32."""
        import torch

        from headsplat.camera import vector_from_matrix

        return vector_from_matrix(_tensor(self.K, torch.float32))

    def identity(self) -> "Tensor":
        """(S,) identity coefficients, float32."""
        import torch

        return _tensor(self.shape, torch.float32)

    def frames(self) -> Frame:
        """All frames as one batch, float32."""
        camera = self.intrinsics(), self.width, self.height
        return Frame(self.ids, self.codes(), *self.poses(), *camera, self.trunk())

    def rows(self, ids: "np.ndarray | Sequence[int]") -> np.ndarray:
        """(n,) row of each id; an id that the track lacks is a `UserError`."""
        if len(self) == 0 and len(ids):
            raise UserError("track: has no frames; remake the track")
        order = np.argsort(self.ids)
        wanted = np.asarray(ids, dtype=np.int64)
        place = np.searchsorted(self.ids, wanted, sorter=order)
        found = order[np.minimum(place, len(order) - 1)]
        missing = wanted[self.ids[found] != wanted]
        if len(missing):
            shown = ", ".join(map(str, missing[:10]))
            raise UserError(f"track: no frames with ids {shown}; remake the track")
        return found


def _tensor(array: np.ndarray, dtype: "torch.dtype") -> "Tensor":
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)).to(dtype)


def write_track(path: Path | str, track: Track) -> None:
    """Write a track atomically; an invalid track is a `UserError`, as in `read_track`."""
    arrays = {}
    for item in fields(track):
        if getattr(track, item.name) is None:
            continue
        kind = NOT_FLOAT.get(item.name, np.float32)
        arrays[item.name] = np.asarray(getattr(track, item.name), dtype=kind)
    require_valid(arrays, str(path))
    write_npz(path, **arrays)


def read_track(path: Path | str, head: HeadModel | None = None, fix: str = _FIX) -> Track:
    """Read and check every array.

    Args:
        path: `track.npz`.
        head: if given, the head model that must have made the track.
        fix: what to do about a damaged file, for the message.

    Raises:
        UserError: the message names file and array; or the track was made with another head model.
    """
    arrays = native(read_npz(path, tuple(SHAPES), fix))
    require_valid(arrays, str(path))
    values = {name: arrays[name] for name in SHAPES}
    for name in ("head_name", "head_version", "head_licence"):
        values[name] = str(values[name])
    values["fps"] = float(values["fps"])
    values |= {name: arrays[name] for name in OPTIONAL if name in arrays}
    track = Track(**values)
    if head is not None:
        check_head(track, head.name, head.version)
        have, expected = track.exp.shape[1], head.expression_basis.shape[2]
        if have != expected:
            raise UserError(
                f"{path}: {have} expression coefficients a frame, head {head.name} has "
                f"{expected}; track the clip again"
            )
    return track


def load_track(path: Path | str) -> Track:
    """Load the track of a clip.

    Args:
        path: a file, or a folder that holds one: `results/<subject>`, an avatar's folder, or
            `work/<subject>`.

    Raises:
        UserError: there is none, or it is broken.
    """
    path = Path(path)
    if not path.is_dir():
        return read_track(path, fix=_USER_FIX)
    for place in ("", "model", "avatar/model", "track"):
        file = path / place / "track.npz"
        if file.is_file():
            return read_track(file, fix=_USER_FIX)
    raise UserError(f"{path}: holds no track.npz; give results/<subject> or the file itself")


def check_head(track: Track, name: str, version: str) -> None:
    """Check that a track was made with this head model.

    Raises:
        UserError: another model, or another version of it.
    """
    if (track.head_name, track.head_version) != (name, version):
        made_with = shown(f"{track.head_name} {track.head_version}")
        raise UserError(
            f"the track was made with head model {made_with}, not {name} {version}; "
            "remake the track"
        )


def head_moves(R: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, ...]:
    """Convert camera-moves form to head-moves form, exactly.

    The static camera looks at the world's origin from the clip's median distance.

    Args:
        R: (N, 3, 3) head to OpenCV camera.
        t: (N, 3) meters.

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
    """Convert head-moves form to camera-moves form, exactly.

    Args:
        head_R: (N, 3, 3) of the head in its world.
        head_t: (N, 3) meters.
        camera_R: (3, 3) world to OpenCV camera, or (N, 3, 3).
        camera_t: (3,) meters, or (N, 3).

    Returns:
        R (N, 3, 3) and t (N, 3), float64.
    """
    camera = np.asarray(camera_R, dtype=np.float64)
    moved = (camera @ np.asarray(head_t, dtype=np.float64)[..., None])[..., 0]
    return camera @ np.asarray(head_R, dtype=np.float64), moved + camera_t
