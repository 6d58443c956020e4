"""Export of a clip in VHAP's layout, the training data of GaussianAvatars.

As in VHAP's monocular exports, the camera is static and FLAME moves. Head motion is in `rotation`
and `translation`, and the neck's part in `neck_pose` if the track has one. GaussianAvatars ignores
`cx` and `cy`, so a white margin of whole pixels centers the principal point. `eyelids` and
`flame_version` are additional keys, which other readers ignore.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headsplat.formats.flame import (
    FLIP,
    axis_angle_from_six,
    flame_year,
    pose_from_rigid,
    require_flame_track,
    resize_codes,
    root_and_neck_joints,
)
from headsplat.frames.images import decode_image, encode_png
from headsplat.frames.packs import FrameStore
from headsplat.heads.model import HeadModel
from headsplat.masks.foreground import foreground_colors
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish_folder, read_json, write_plain_json
from headsplat.runtime.logs import log
from headsplat.runtime.progress import progress
from headsplat.track import Track, read_track

SHAPE, EXPRESSION = 300, 100
# FLAME's vertices and the teeth that the tool adds to them.
OFFSET_VERTICES = 5143
JAW_OPEN = 0.3  # radians, jaw angle of the canonical parameters


def export_vhap(
    track_path: Path,
    head_path: Path,
    split_path: Path,
    frames: Sequence[Path],
    alpha: Sequence[Path],
    parsing: Sequence[Path],
    out: Path,
) -> None:
    """Publish the folder `out` with training and held-out frames.

    Time steps count those frames from 0; `timestep_index_original` + 1 is the frame id. Training
    and held-out frames are those of `split.json`; there is no validation camera.

    Raises:
        UserError: the head is not FLAME, or an input lacks a frame.
    """
    track, head = read_track(track_path), HeadModel.load(head_path)
    require_flame_track(track, head, "VHAP's layout")
    split = read_json(split_path)
    ids = np.array(sorted(split["train"] + split["test"]))
    rows = track.rows(ids)
    if len(rows) < len(track.ids):
        log.info("%d frames neither train nor test, left out", len(track.ids) - len(rows))
    if flame_year(head) != "2023":
        log.info("these are codes of FLAME %s; GaussianAvatars loads 2023", flame_year(head))
    pads = centering_margin(track.K, *track.img_size.tolist())
    with (
        FrameStore(frames) as images,
        FrameStore(alpha) as mattes,
        FrameStore(parsing) as masks,
        publish_folder(out) as folder,
    ):
        for name in ("images", "fg_masks", "flame_param"):
            (folder / name).mkdir()
        parameters = flame_parameters(track, head, rows)
        for step, i in enumerate(progress(ids.tolist(), len(ids), "export")):
            alpha = decode_image(mattes.read(i))
            matte = alpha * (decode_image(masks.read(i, "_neckhead")) > 127)
            image = _on_white(decode_image(images.read(i)), alpha, matte)
            name = f"{step:05d}_00.png"
            (folder / "images" / name).write_bytes(encode_png(_with_margin(image, pads, 255)))
            (folder / "fg_masks" / name).write_bytes(encode_png(_with_margin(matte, pads, 0)))
            # Compressed, because the offset is 60 kB of zeros.
            np.savez_compressed(folder / "flame_param" / f"{step:05d}.npz", **parameters[step])
        np.savez_compressed(folder / "canonical_flame_param.npz", **_canonical(parameters[0]))
        table = {**transforms(track, ids, pads), "flame_version": flame_year(head)}
        write_plain_json(folder / "transforms.json", table)
        for part, wanted in (("train", split["train"]), ("val", []), ("test", split["test"])):
            write_plain_json(folder / f"transforms_{part}.json", _part(table, ids, wanted))


def flame_parameters(
    track: Track, head: HeadModel, rows: np.ndarray
) -> list[dict[str, np.ndarray]]:
    """The arrays of `flame_param/<step>.npz`, float32, for some rows of the track."""
    shape, exp = np.asarray(track.shape, np.float64), np.asarray(track.exp[rows], np.float64)
    nod = None if track.neck is None else axis_angle_from_six(track.neck[rows])
    moves = np.asarray(track.head_R[rows], np.float64), np.asarray(track.head_t[rows])
    rotation, translation = pose_from_rigid(*moves, *root_and_neck_joints(head, shape, exp), nod)
    values = {
        "translation": translation, "rotation": rotation,
        "neck_pose": np.zeros((len(rows), 3)) if nod is None else nod,
        "jaw_pose": axis_angle_from_six(track.jaw[rows]),
        "eyes_pose": axis_angle_from_six(track.eyes[rows]),
        "expr": resize_codes(exp, EXPRESSION), "eyelids": track.eyelids[rows],
    }  # fmt: skip
    shared = {
        "shape": resize_codes(shape, SHAPE).astype(np.float32),
        "static_offset": np.zeros((1, OFFSET_VERTICES, 3), np.float32),
    }
    return [
        {**shared, **{key: value[[row]].astype(np.float32) for key, value in values.items()}}
        for row in range(len(rows))
    ]


def transforms(track: Track, ids: np.ndarray, pads: tuple[int, int, int, int]) -> dict[str, Any]:
    """`transforms.json`: the still camera, camera-to-world with OpenGL axes, for each frame."""
    left, top, right, bottom = pads
    height, width = (int(n) for n in track.img_size)
    width, height = width + left + right, height + top + bottom
    fx, fy = (float(f) for f in np.diag(track.K)[:2])
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = FLIP @ track.camera_R, FLIP @ track.camera_t
    camera = {
        "cx": float(track.K[0, 2]) + left, "cy": float(track.K[1, 2]) + top, "fl_x": fx,
        "fl_y": fy, "h": height, "w": width, "camera_angle_x": 2 * math.atan(width / (2 * fx)),
        "camera_angle_y": 2 * math.atan(height / (2 * fy)),
    }  # fmt: skip
    matrix = np.linalg.inv(world).tolist()
    frames = [
        {
            "timestep_index": step, "timestep_index_original": int(i) - 1,
            "timestep_id": f"{i:05d}", "camera_index": 0, "camera_id": "0", **camera,
            "transform_matrix": matrix, "file_path": f"images/{step:05d}_00.png",
            "fg_mask_path": f"fg_masks/{step:05d}_00.png",
            "flame_param_path": f"flame_param/{step:05d}.npz",
        }
        for step, i in enumerate(ids)
    ]  # fmt: skip
    indices = {"timestep_indices": list(range(len(ids))), "camera_indices": [0]}
    return {"frames": frames, **camera, **indices}


def centering_margin(K: np.ndarray, height: int, width: int) -> tuple[int, int, int, int]:
    """Padding that brings the principal point within 0.25 px of the image center.

    Returns:
        whole pixels left, top, right, bottom.
    """
    across, down = round(width - 2 * float(K[0, 2])), round(height - 2 * float(K[1, 2]))
    return max(across, 0), max(down, 0), max(-across, 0), max(-down, 0)


def _part(table: dict[str, Any], ids: np.ndarray, wanted: list[int]) -> dict[str, Any]:
    steps = np.flatnonzero(np.isin(ids, wanted)).tolist()
    cameras = table["camera_indices"] if steps else []
    frames = [table["frames"][step] for step in steps]
    return {**table, "frames": frames, "timestep_indices": steps, "camera_indices": cameras}


def _canonical(parameters: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Canonical parameters as in VHAP: neutral with a slightly open jaw."""
    kept = ("shape", "static_offset")
    values = {k: v if k in kept else np.zeros_like(v) for k, v in parameters.items()}
    values["jaw_pose"][0, 0] = JAW_OPEN
    return values


def _on_white(image: np.ndarray, alpha: np.ndarray, matte: np.ndarray) -> np.ndarray:
    if image.shape[:2] != matte.shape:
        raise UserError(
            f"images of {image.shape[:2]} and mattes of {matte.shape} pixels; remake the chunks"
        )
    weight = matte[..., None] / 255.0
    return np.rint(foreground_colors(image, alpha) * weight + 255 * (1 - weight)).astype(np.uint8)


def _with_margin(image: np.ndarray, pads: tuple[int, int, int, int], value: int) -> np.ndarray:
    left, top, right, bottom = pads
    widths = ((top, bottom), (left, right), (0, 0))[: image.ndim]
    return np.pad(image, widths, constant_values=value)
