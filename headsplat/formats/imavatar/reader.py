"""Reader of IMavatar data (also PointAvatar, DynAvatar): `flame_params.json` and images.

Frame k is `image/<k>.png`, its matte `mask/<k>.png`, its BiSeNet classes `semantic/<k>.png`; k
starts at 1. The tool multiplies FLAME by 4 before an OpenGL camera,

    x_cam = R_w (4 v) + t_w,   u = W (i_0 X / Z + i_2),   v = H (i_1 Y / Z + i_3),

with Z negative and therefore i_0 = -f_x / W. Head rotation is in the neck entry of the pose.
"""

from pathlib import Path, PurePosixPath
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
from headsplat.formats.importing.clip import (
    ImageSource,
    ImportedClip,
    ImportOptions,
    make_track,
    refuse_images,
)
from headsplat.frames.ids import frame_number
from headsplat.frames.images import open_image
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.files import read_json
from headsplat.track import camera_moves

TOOL = "imavatar"
PARAMETERS = "flame_params.json"
SCALE = 4.0
SHAPE, EXPRESSION = 100, 50
# Image size of old files, whose principal point is in pixels.
OLD_SIZE = 512
# Keys of a frame, and the shapes of their numbers.
_FRAME = {"world_mat": (3, 4), "expression": (EXPRESSION,), "pose": (15,)}


def read_imavatar(folder: Path, options: ImportOptions) -> ImportedClip:
    """Read a `<video>` folder of the layout.

    Raises:
        UserError: names the file and the key.
    """
    refuse_images(options, TOOL)
    path = folder / PARAMETERS
    table = read_json(path, "export it again")
    frames = _frames_by_id(table, path)
    # Exports of headsplat name the FLAME release.
    require_flame(options, str(table.get("flame_version", "2020")), TOOL)
    ids = np.array(sorted(frames))
    parts = {k: _stack([frames[i] for i in ids], k, size, path) for k, size in _FRAME.items()}
    height, width = _size(folder / "image" / f"{ids[0]}.png")

    head = options.head
    exp = fit_codes(
        parts["expression"], EXPRESSION, head.expression_basis.shape[2], str(path), "expression"
    )
    raw = _numbers(table, "shape_params", f"{path}: 'shape_params'")
    shape = fit_codes(raw, SHAPE, head.shape_basis.shape[2], str(path), "shape_params")
    lids = np.zeros((len(ids), 2))
    if _has_lids(frames):
        lids = _stack([frames[i] for i in ids], "eyelids", (2,), path)
    pose, world = parts["pose"], parts["world_mat"]
    for i, matrix in zip(ids, world, strict=True):
        require_rigid(matrix[:, :3], f"{path}: frame {i}, 'world_mat'")
    root, neck = root_and_neck_joints(head, shape, exp)
    head_R, head_t = rigid_from_pose(pose[:, :3], pose[:, 3:6], np.zeros(3), root, neck)
    R, t = camera_moves(head_R, head_t, *opencv_camera(world))
    track = make_track(
        head, ids, shape, exp, six_from_axis_angle(pose[:, 6:9]), six_from_axis_angle(pose[:, 9:]),
        lids, R, t, intrinsics(table, path, width, height), (height, width),
    )  # fmt: skip
    return ImportedClip(track, *_images(folder, ids.tolist()), notes=_notes(pose, frames))


def opencv_camera(world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`world_mat` (..., 3, 4) -> R (..., 3, 3), t (..., 3) of the head in meters to OpenCV axes."""
    return FLIP @ world[..., :3], world[..., 3] @ FLIP / SCALE


def intrinsics(table: Any, path: Path, width: int, height: int) -> np.ndarray:
    """K (3, 3) in pixels from the file's four numbers, normalized or of the old pixel form."""
    values = _numbers(table, "intrinsics", f"{path}: 'intrinsics'")
    if values.shape != (4,) or not np.isfinite(values).all() or values[0] >= 0 or values[1] <= 0:
        raise UserError(
            f"{path}: 'intrinsics' must be [-fx/W, fy/H, cx/W, cy/H], found {values.tolist()}; "
            "export it again"
        )
    if values[3] > 1:
        values = values / OLD_SIZE
    fx, fy, cx, cy = values
    return np.array([[-fx * width, 0, cx * width], [0, fy * height, cy * height], [0, 0, 1]])


def _frames_by_id(table: Any, path: Path) -> dict[int, dict[str, Any]]:
    frames: dict[int, dict[str, Any]] = {}
    listed = table.get("frames") if isinstance(table, dict) else None
    if not isinstance(listed, list) or not listed:
        raise UserError(f"{path}: 'frames' is missing or empty; export it again")
    for frame in listed:
        name = frame.get("file_path") if isinstance(frame, dict) else None
        number = frame_number(PurePosixPath(str(name)).name)
        if not number:
            raise UserError(
                f"{path}: 'file_path' is {shown(repr(name))}, expected './image/<k>'; "
                "export it again"
            )
        if number in frames:
            raise UserError(f"{path}: 'file_path' {name} occurs twice; remove one of the frames")
        frames[number] = frame
    return frames


def _stack(
    frames: list[dict[str, Any]], key: str, shape: tuple[int, ...], path: Path
) -> np.ndarray:
    """(N, *shape) float64 of one key of all frames."""
    rows = []
    for frame in frames:
        where = f"{path}: frame {frame['file_path']}, '{key}'"
        row = _numbers(frame, key, where)
        if row.shape != shape or not np.isfinite(row).all():
            raise UserError(
                f"{where} must be finite numbers of shape {list(shape)}, its shape is "
                f"{list(row.shape)}; export it again"
            )
        rows.append(row)
    return np.stack(rows)


def _numbers(table: dict[str, Any], key: str, where: str) -> np.ndarray:
    if key not in table:
        raise UserError(f"{where} is missing; export it again")
    try:
        return np.array(table[key], dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{where} holds something else than numbers; export it again") from error


def _size(path: Path) -> tuple[int, int]:
    """Height and width of an image, from its header."""
    with open_image(path) as image:
        return image.height, image.width


def _images(folder: Path, ids: list[int]) -> tuple[dict[int, ImageSource], ...]:
    """Images, mattes, head masks and mouth masks; the last three only if the folder has them."""
    found: dict[str, dict[int, Path]] = {}
    for part in ("image", "mask", "semantic"):
        paths = {i: folder / part / f"{i}.png" for i in ids}
        if part != "image" and not (folder / part).is_dir():
            paths = {}
        for path in paths.values():
            if not path.is_file():
                raise UserError(
                    f"{path}: is missing, {PARAMETERS} names its frame; copy it or remove the frame"
                )
        found[part] = paths
    plain = [{i: ImageSource(p) for i, p in found[part].items()} for part in ("image", "mask")]
    labeled = {i: ImageSource(p, labels="bisenet") for i, p in found["semantic"].items()}
    return (*plain, labeled, labeled)


def _has_lids(frames: dict[int, dict[str, Any]]) -> bool:
    """Whether headsplat wrote the file; the tool itself has no eyelids."""
    return any("eyelids" in frame for frame in frames.values())


def _notes(pose: np.ndarray, frames: dict[int, dict[str, Any]]) -> tuple[str, ...]:
    notes = [f"{EXPRESSION} expression and {SHAPE} shape codes, the rest is zero"]
    nod = float(np.rad2deg(np.linalg.norm(pose[:, 3:6], axis=1).max()))
    if nod > 0:
        notes.append(
            f"the neck's rotation (up to {nod:.1f} degrees) moves the whole head; the neck's own "
            "bend and its corrective are dropped"
        )
    if not _has_lids(frames):
        notes.append("the tool has no eyelids: they are 0, blinks stand in the expression")
    return tuple(notes)
