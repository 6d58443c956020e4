"""Reader of VHAP exports (GaussianAvatars): `transforms*.json` and `flame_param/*.npz`.

Each image has an OpenGL camera-to-world matrix and pixel intrinsics, each time step FLAME's
parameters with a translation added after skinning. Of several cameras the most frontal one is read.
`static_offset` (personal vertex offsets) cannot be represented by a linear head model; only its
effect on the joints is kept.
"""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from headsplat.formats.flame import (
    FLIP,
    fit_codes,
    require_flame,
    require_rigid,
    rigid_from_pose,
    root_and_neck_joints,
    six_from_axis_angle,
)
from headsplat.formats.importing.arrays import read_arrays
from headsplat.formats.importing.clip import (
    ImageSource,
    ImportedClip,
    ImportOptions,
    make_track,
    refuse_images,
)
from headsplat.frames.ids import LARGEST
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.files import read_json
from headsplat.track import camera_moves

TOOL = "vhap"
SHAPE, EXPRESSION = 300, 100
TABLES = ("transforms.json",), tuple(f"transforms_{part}.json" for part in ("train", "val", "test"))
_ARRAYS = {
    "shape": "n", "expr": "1 n", "rotation": "1 3", "neck_pose": "1 3", "jaw_pose": "1 3",
    "eyes_pose": "1 6", "translation": "1 3",
}  # fmt: skip
_OPTIONAL = {"static_offset": "1 n 3", "dynamic_offset": "1 n 3", "eyelids": "1 2"}
_LONGEST_SIDE = 1 << 16  # pixels
_NUMBERS = ("fl_x", "fl_y", "cx", "cy", "w", "h")
_SHARED = (*_NUMBERS, "flame_version")


def read_vhap(folder: Path, options: ImportOptions) -> ImportedClip:
    """Read an export folder.

    Raises:
        UserError: names the file and the key.
    """
    refuse_images(options, TOOL)
    frames, table = _frames(folder)
    # Exports of headsplat name the FLAME release.
    require_flame(options, str(frames[0].get("flame_version", "2023")), TOOL)
    cameras = _by_camera(frames, table)
    arrays = _parameters(folder, frames)
    motion = {name: _motion(options, arrays, rows, table) for name, rows in cameras.items()}
    # A face that looks into the camera has R = diag(1, -1, -1).
    chosen = min(motion, key=lambda name: motion[name][0][:, 2, 2].mean())
    rows, (R, t) = cameras[chosen], motion[chosen]

    ids = _ids(rows)
    order = np.argsort(ids)
    if R[:, 2, 2].mean() > 0.5 or not (t[:, 2] > 0).all():
        raise UserError(
            f"{table}: camera {chosen} sees the head from behind, or it lies behind the camera; "
            "'transform_matrix' must be camera-to-world with OpenGL axes"
        )
    values = [arrays[row["flame_param_path"]] for row in rows]
    exp, shape = _codes(options, values, rows, table)
    track = make_track(
        options.head,
        ids[order],
        shape,
        exp[order],
        six_from_axis_angle(_column(values, "jaw_pose"))[order],
        six_from_axis_angle(_column(values, "eyes_pose"))[order],
        np.stack([v["eyelids"][0] if "eyelids" in v else np.zeros(2) for v in values])[order],
        R[order],
        t[order],
        *_intrinsics(rows, table),
    )
    images = _images(folder, ids, rows, "file_path", table)
    alpha = {}
    if (folder / "fg_masks").is_dir():
        alpha = _images(folder, ids, rows, "fg_mask_path", table)
    return ImportedClip(track, images, alpha, notes=_notes(values, cameras, chosen))


def opencv_camera(transform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Camera-to-world with OpenGL axes (..., 4, 4) -> world-to-camera R, t with OpenCV's."""
    inverse = np.linalg.inv(transform)
    return FLIP @ inverse[..., :3, :3], inverse[..., :3, 3] @ FLIP


def _frames(folder: Path) -> tuple[list[dict[str, Any]], Path]:
    """All frames of the tables, and the table to name in messages."""
    whole, parts = TABLES
    found = [folder / name for name in whole if (folder / name).is_file()]
    found = found or [folder / name for name in parts if (folder / name).is_file()]
    if not found:
        raise UserError(
            f"{folder}: has neither transforms.json nor transforms_train.json; point to the "
            "folder that VHAP's export wrote"
        )
    frames = []
    for path in found:
        table = read_json(path, "export it again")
        listed = table.get("frames") if isinstance(table, dict) else None
        if not isinstance(listed, list):
            raise UserError(f"{path}: 'frames' is missing; export it again")
        for frame in listed:
            _check(frame, path)
            # Top-level values are defaults of the frames.
            frames.append({**{k: table[k] for k in _SHARED if k in table}, **frame})
    if not frames:
        raise UserError(f"{found[0]}: 'frames' is empty; export it again")
    return frames, found[0]


def _check(frame: Any, path: Path) -> None:
    for key in ("timestep_index", "file_path", "flame_param_path", "transform_matrix"):
        if not isinstance(frame, dict) or key not in frame:
            raise UserError(f"{path}: 'frames' has one without '{key}'; export it again")
    name = shown(str(frame["file_path"]))
    for key in ("timestep_index", "timestep_index_original", "camera_index"):
        index = frame.get(key, 0)
        if type(index) is not int or not 0 <= index <= LARGEST:
            raise UserError(f"{path}: {name}, '{key}' is no index; export it again")
    for key in ("file_path", "flame_param_path"):
        if not _is_path(frame[key]):
            raise UserError(f"{path}: {name}, '{key}' is no path; export it again")
    where = f"{path}: {name}, 'transform_matrix'"
    try:
        matrix = np.array(frame["transform_matrix"], np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{where} holds something else than numbers; export it again") from error
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        raise UserError(f"{where} is not 4 x 4 finite numbers; export it again")
    require_rigid(matrix[:3, :3], where)


def _is_path(value: Any) -> bool:
    return type(value) is str and value.isprintable() and Path(value).name != ""


def _by_camera(frames: list[dict[str, Any]], table: Path) -> dict[int, list[dict[str, Any]]]:
    cameras: dict[int, list[dict[str, Any]]] = {}
    for frame in frames:
        cameras.setdefault(frame.get("camera_index", 0), []).append(frame)
    for camera, rows in cameras.items():
        steps = Counter(row["timestep_index"] for row in rows)
        twice = [step for step, times in steps.items() if times > 1]
        if twice:
            raise UserError(
                f"{table}: 'timestep_index' {twice[0]} of camera {camera} occurs twice; "
                "remove one of the frames"
            )
    return cameras


def _ids(rows: list[dict[str, Any]]) -> np.ndarray:
    """1-based ids: those of the source if unique, so that gaps are kept."""
    source = [row.get("timestep_index_original", row["timestep_index"]) for row in rows]
    unique = len(set(source)) == len(source)
    return np.array(source if unique else [row["timestep_index"] for row in rows], int) + 1


def _parameters(folder: Path, frames: list[dict[str, Any]]) -> dict[str, dict[str, np.ndarray]]:
    arrays: dict[str, dict[str, np.ndarray]] = {}
    for frame in frames:
        name = frame["flame_param_path"]
        if name not in arrays:
            arrays[name], _ = read_arrays(folder / name, _ARRAYS, _OPTIONAL)
    return arrays


def _column(values: list[dict[str, np.ndarray]], key: str) -> np.ndarray:
    return np.concatenate([v[key] for v in values])


def _codes(
    options: ImportOptions,
    values: list[dict[str, np.ndarray]],
    rows: list[dict[str, Any]],
    table: Path,
) -> tuple[np.ndarray, np.ndarray]:
    """Expression (N, E) and the shape (S,) that all frames share."""
    head, folder = options.head, table.parent
    first = folder / rows[0]["flame_param_path"]
    wanted = head.expression_basis.shape[2]
    exp = []
    for row, value in zip(rows, values, strict=True):
        path = folder / row["flame_param_path"]
        exp.append(fit_codes(value["expr"][0], EXPRESSION, wanted, str(path), "expr"))
        same = value["shape"].shape == values[0]["shape"].shape
        if not same or not np.array_equal(value["shape"], values[0]["shape"]):
            raise UserError(
                f"{path}: 'shape' differs from that of {first}; import one subject at a time"
            )
    shape = fit_codes(values[0]["shape"], SHAPE, head.shape_basis.shape[2], str(first), "shape")
    return np.stack(exp), shape


def _motion(
    options: ImportOptions,
    arrays: dict[str, dict[str, np.ndarray]],
    rows: list[dict[str, Any]],
    table: Path,
) -> tuple[np.ndarray, np.ndarray]:
    """Head to camera, R (N, 3, 3) and t (N, 3), of one camera's frames."""
    values = [arrays[row["flame_param_path"]] for row in rows]
    exp, shape = _codes(options, values, rows, table)
    offset = None
    if "static_offset" in values[0]:
        # Teeth come after FLAME's own vertices.
        vertices = len(options.head.template)
        offset = values[0]["static_offset"][0, :vertices]
        if len(offset) != vertices:
            raise UserError(
                f"{table.parent / rows[0]['flame_param_path']}: 'static_offset' has "
                f"{len(offset)} vertices, the head model {vertices}; export it again"
            )
    root, neck = root_and_neck_joints(options.head, shape, exp, offset)
    head_R, head_t = rigid_from_pose(
        *(_column(values, key) for key in ("rotation", "neck_pose", "translation")), root, neck
    )
    transforms = np.array([row["transform_matrix"] for row in rows], np.float64)
    return camera_moves(head_R, head_t, *opencv_camera(transforms))


def _intrinsics(rows: list[dict[str, Any]], table: Path) -> tuple[np.ndarray, tuple[int, int]]:
    """K (3, 3), and height and width, equal in all frames of the camera."""
    values = []
    for row in rows:
        missing = [key for key in _NUMBERS if not isinstance(row.get(key), int | float)]
        if missing:
            raise UserError(
                f"{table}: {row['file_path']}, '{missing[0]}' is missing; export it again"
            )
        numbers = [row[key] for key in _NUMBERS]
        if not all(-_LONGEST_SIDE * 100 < n < _LONGEST_SIDE * 100 for n in numbers) or not all(
            1 <= n <= _LONGEST_SIDE for n in numbers[4:]
        ):
            raise UserError(
                f"{table}: {shown(row['file_path'])}, 'fl_x' to 'h' are not a camera's; "
                "export it again"
            )
        values.append([float(n) for n in numbers])
    if np.ptp(values, axis=0).max() > 1e-6 * max(values[0]):
        raise UserError(f"{table}: 'fl_x' to 'h' change from frame to frame; one camera needs one")
    fx, fy, cx, cy, width, height = values[0]
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), (round(height), round(width))


def _images(
    folder: Path, ids: np.ndarray, rows: list[dict[str, Any]], key: str, table: Path
) -> dict[int, ImageSource]:
    """The files that `key` names, by id."""
    images = {}
    for i, row in zip(ids.tolist(), rows, strict=True):
        if key not in row:
            raise UserError(f"{table}: {row['file_path']}, '{key}' is missing; export it again")
        if not _is_path(row[key]):
            raise UserError(f"{table}: {row['file_path']}, '{key}' is no path; export it again")
        path = folder / row[key]
        path = path if path.suffix else path.with_suffix(".png")
        if not path.is_file():
            raise UserError(f"{path}: is missing, '{key}' of {table.name} names it; copy it")
        images[i] = ImageSource(path)
    return images


def _notes(
    values: list[dict[str, np.ndarray]], cameras: dict[int, list[dict[str, Any]]], chosen: int
) -> tuple[str, ...]:
    notes = []
    if len(cameras) > 1:
        notes.append(f"camera {chosen} of {len(cameras)}: it sees the face most from the front")
    for key in ("static_offset", "dynamic_offset"):
        moved = [np.linalg.norm(v[key], axis=-1).max() for v in values if key in v]
        if moved and max(moved) > 0:
            notes.append(f"'{key}' (up to {1000 * max(moved):.1f} mm) is dropped")
    if any("neck_pose" in v and v["neck_pose"].any() for v in values):
        notes.append("the neck's rotation moves the whole head; its own bend is dropped")
    if not all("eyelids" in v for v in values):
        notes.append("the tool has no eyelids: they are 0, blinks stand in the expression")
    return tuple(notes)
