"""Export of a clip in IMavatar's layout (see `headsplat.formats.imavatar.reader`).

`world_mat` moves the body, and the pose's neck entry turns the head on it. Without a trunk in the
track, `world_mat` moves the head. Two masks allow three BiSeNet classes: skin for the head, mouth,
and cloth for the rest of the matte. `eyelids` and `flame_version` are additional keys, which other
readers ignore.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headsplat.camera import project, vector_from_matrix
from headsplat.formats.flame import (
    FLIP,
    axis_angle_from_six,
    flame_year,
    pose_from_rigid,
    require_flame_track,
    resize_codes,
    rigid_from_pose,
    root_and_neck_joints,
    truncation_error_mm,
)
from headsplat.formats.imavatar.reader import EXPRESSION, PARAMETERS, SCALE, SHAPE
from headsplat.frames.images import decode_image, encode_png
from headsplat.frames.packs import FrameStore, require_same_ids
from headsplat.gaussians.deform.codes import posed_vertices
from headsplat.heads.landmarks import compact, contour_points, points
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.masks.labels import BISENET
from headsplat.runtime.files import publish_folder, write_plain_json
from headsplat.runtime.logs import log
from headsplat.runtime.progress import progress
from headsplat.track import Track, read_track

_BATCH = 64


def export_imavatar(
    track_path: Path,
    head_path: Path,
    frames: Sequence[Path],
    alpha: Sequence[Path],
    parsing: Sequence[Path],
    out: Path,
) -> None:
    """Publish the folder `out`: `flame_params.json`, `image/`, `mask/` and `semantic/`.

    Raises:
        UserError: the head is not FLAME, or an input lacks a frame.
    """
    track, head = read_track(track_path), HeadModel.load(head_path)
    require_flame_track(track, head, "IMavatar's layout")
    lost = truncation_error_mm(head, track, SHAPE, EXPRESSION)
    log.info("codes beyond %d and %d are left out: up to %.2f mm", SHAPE, EXPRESSION, lost)
    with (
        FrameStore(frames) as images,
        FrameStore(alpha) as mattes,
        FrameStore(parsing) as masks,
        publish_folder(out) as folder,
    ):
        ids = track.ids.tolist()
        require_same_ids(
            {"track": ids, "frames": images.ids, "alpha": mattes.ids, "parsing": masks.ids}
        )
        write_plain_json(folder / PARAMETERS, parameters(track, head))
        for name in ("image", "mask", "semantic"):
            (folder / name).mkdir()
        for i in progress(ids, len(ids), "export"):
            matte = mattes.read(i)
            neckhead, mouth = (decode_image(masks.read(i, f"_{m}")) for m in ("neckhead", "mouth"))
            labels = classes(decode_image(matte), neckhead, mouth)
            (folder / "image" / f"{i}.png").write_bytes(encode_png(decode_image(images.read(i))))
            (folder / "mask" / f"{i}.png").write_bytes(matte)
            (folder / "semantic" / f"{i}.png").write_bytes(encode_png(labels))


def parameters(track: Track, head: HeadModel) -> dict[str, Any]:
    """`flame_params.json` of a track."""
    height, width = (int(n) for n in track.img_size)
    fx, fy, cx, cy = vector_from_matrix(torch.as_tensor(track.K, dtype=torch.float64)).tolist()
    turn, place, neck = _body(track, head)
    world = np.concatenate([FLIP @ turn, SCALE * place[..., None] * np.diag(FLIP)[:, None]], 2)
    still = np.zeros((len(track.ids), 3))
    pose = [still, neck, axis_angle_from_six(track.jaw), axis_angle_from_six(track.eyes)]
    keypoints = _keypoints(track, head) / (width, height) * 2 - 1
    box = np.concatenate([keypoints.min(1), keypoints.max(1)], 1)
    columns = {
        "world_mat": world, "expression": resize_codes(track.exp, EXPRESSION),
        "pose": np.concatenate(pose, 1), "bbox": box, "flame_keypoints": keypoints,
        "eyelids": np.asarray(track.eyelids, np.float64),
    }  # fmt: skip
    return {
        "frames": [
            {"file_path": f"./image/{i}", **{k: v[row].tolist() for k, v in columns.items()}}
            for row, i in enumerate(track.ids.tolist())
        ],
        "intrinsics": [-fx / width, fy / height, cx / width, cy / height],
        "shape_params": resize_codes(track.shape, SHAPE).tolist(),
        "flame_version": flame_year(head),
    }


def _body(track: Track, head: HeadModel) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Body to camera (N, 3, 3) and (N, 3), and the neck (N, 3) that brings the head to its place.

    Without a trunk the body moves with the head.
    """
    R, t = (np.asarray(a, np.float64) for a in (track.R, track.t))
    if track.neck is None:
        return R, t, np.zeros((len(R), 3))
    nod = axis_angle_from_six(track.neck)
    root, neck = root_and_neck_joints(head, track.shape, track.exp)
    turn, shift = pose_from_rigid(R, t, root, neck, nod)
    return *rigid_from_pose(turn, np.zeros_like(nod), shift, root, neck), nod


def classes(matte: np.ndarray, neckhead: np.ndarray, mouth: np.ndarray) -> np.ndarray:
    """(H, W) masks -> BiSeNet class ids, invertible if the mouth is within the head."""
    labels = np.where(matte > 127, BISENET.index("cloth"), BISENET.index("background"))
    labels[neckhead > 127] = BISENET.index("skin")
    labels[mouth > 127] = BISENET.index("mouth")
    return labels.astype(np.uint8)


def _keypoints(track: Track, head: HeadModel) -> np.ndarray:
    """(N, 68, 2) pixels of the model's Multi-PIE landmarks, the jaw line first."""
    geometry = HeadGeometry(head)
    line, inner = head.landmarks["contour"], head.landmarks["multipie68"]
    ids, (line, inner) = compact(line, inner)
    codes = track.codes().vector
    found = []
    for rows in np.array_split(np.arange(len(codes)), max(1, len(codes) // _BATCH)):
        shape, code, R, t = (
            torch.as_tensor(np.asarray(v), dtype=torch.float32)
            for v in (track.shape, codes[rows], track.R[rows], track.t[rows])
        )
        vertices = posed_vertices(geometry, shape, code, torch.from_numpy(ids))
        place = torch.cat([contour_points(vertices, line, R), points(vertices, inner)], 1)
        K = vector_from_matrix(torch.as_tensor(track.K, dtype=torch.float32))
        found.append(project(place, R, t, K)[..., :2].double().numpy())
    return np.concatenate(found)
