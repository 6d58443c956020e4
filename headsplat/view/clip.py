"""What a clip's timeline shows: status, split, residual, camera and error of each frame."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from headsplat.frames.table import USABLE, read_frames
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_json, read_npz
from headsplat.track import Track, read_track
from headsplat.view.cached import stamps
from headsplat.view.files import SubjectFiles
from headsplat.web.container import write_payload

PARTS = ("train", "test", "guard", "unusable")
# Measures of held-out frames: name in evaluation.npz -> label, unit, and which end is better.
MEASURES = {
    "psnr_head": ("PSNR of the head", "dB", "high"),
    "ssim_head": ("SSIM of the head", "", "high"),
    "lpips_head": ("LPIPS of the head", "", "low"),
    "l1_head": ("L1 error of the head", "", "low"),
    "psnr_full": ("PSNR of the image", "dB", "high"),
    "psnr_mouth": ("PSNR of the mouth", "dB", "high"),
    "psnr_eyes": ("PSNR of the eyes", "dB", "high"),
    "temporal_error": ("Temporal error", "", "low"),
    "static_flicker": ("Flicker of what stands still", "", "low"),
}
_SOURCES = ("track", "landmark_track", "model/track.npz", "frames", "split", "evaluation")
_MOST_FRAMES = 1 << 20


def clip_stamps(files: SubjectFiles) -> Any:
    """What changes with a clip's files."""
    return stamps([path for name in _SOURCES if (path := files.file(name)) is not None])


def track_file(files: SubjectFiles) -> Path | None:
    """The best track so far: refined, of landmarks alone, or the avatar's copy."""
    found = (files.file(name) for name in _SOURCES[:3])
    return next((path for path in found if path is not None), None)


def clip_payload(files: SubjectFiles) -> bytes:
    """JSON and arrays of a clip, packed by `headsplat.web.container`.

    JSON: `name`, `fps`, `status_names`, `usable` (names), `part_names`, `measures`, `camera` (K,
    width, height) or null, `tracked`, and `problems`, lines about files that cannot be read.

    Arrays of N frames: ids (N,) u4, times (N,) f4 seconds, status and parts (N,) u1, rows of the
    names, 255 for none; of a track also interpolated (N,) u1, confidence and residual (N,) f4, the
    latter in pixels, R (N, 4) f4 quaternions and t (N, 3) f4 meters, head to camera. Of M held-out
    frames: errors/ids (M,) u4 and errors/<measure> (M,) f4.

    Raises:
        UserError: there is no clip yet.
    """
    problems: list[str] = []

    def tried(read: Callable[[Path], Any], path: Path | None) -> Any:
        try:
            return None if path is None else read(path)
        except UserError as error:
            problems.append(str(error))
            return None

    track = tried(read_track, track_file(files))
    table = tried(read_frames, files.file("frames")) or []
    if (track is None or len(track) == 0) and not table:
        raise UserError(problems[0] if problems else "the clip has no frames yet; wait for its run")
    ids = track.ids if track is not None else np.array([row.id for row in table], np.int64)
    if len(ids) > _MOST_FRAMES:
        raise UserError(f"the clip has {len(ids)} frames, a page shows up to {_MOST_FRAMES}")
    fps = track.fps if track is not None else 25.0
    known = {row.id: row for row in table}
    times = [known[i].time if i in known else (i - 1) / fps for i in ids.tolist()]
    status = track.status if track is not None else np.array([row.status for row in table])
    names, codes = np.unique(status.astype(str), return_inverse=True)
    arrays = {
        "ids": ids.astype(np.uint32),
        "times": np.array(times, np.float32),
        "status": codes.clip(0, 255).astype(np.uint8),
        "parts": _parts(ids, tried(read_json, files.file("split"))),
    }
    if track is not None:
        arrays |= _tracked(track)
    evaluation = tried(read_npz, files.file("evaluation"))
    measures = _errors(evaluation) if evaluation is not None else {}
    meta = {
        "counts": {},
        "name": files.name,
        "fps": fps,
        "status_names": names.tolist()[:255],
        "usable": USABLE,
        "part_names": PARTS,
        "measures": [
            {"name": name, "label": label, "unit": unit, "better": better}
            for name, (label, unit, better) in MEASURES.items()
            if f"errors/{name}" in measures
        ],
        "camera": None if track is None else _camera(track),
        "tracked": track is not None,
        "problems": problems,
    }
    return write_payload(meta, arrays | measures)


def _camera(track: Track) -> dict[str, Any]:
    K = track.K.astype(float)
    intrinsics = [K[0, 0], K[1, 1], K[0, 2], K[1, 2]]
    return {"K": intrinsics, "width": track.width, "height": track.height}


def _tracked(track: Track) -> dict[str, np.ndarray]:
    from headsplat.rotations import quaternion_from_matrix

    R, t = track.poses()
    return {
        "interpolated": track.interpolated.astype(np.uint8),
        "confidence": track.confidence.astype(np.float32),
        "residual": track.residual_px.astype(np.float32),
        "R": quaternion_from_matrix(R).numpy().astype(np.float32),
        "t": t.numpy(),
    }


def _parts(ids: np.ndarray, split: Any) -> np.ndarray:
    """(N,) row of `PARTS` for each id, 255 for none."""
    parts = np.full(len(ids), 255, np.uint8)
    for number, name in enumerate(PARTS):
        listed = split.get(name) if isinstance(split, dict) else None
        if isinstance(listed, list) and all(type(frame) is int for frame in listed):
            parts[np.isin(ids, listed)] = number
    return parts


def _errors(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    ids = arrays.get("ids", np.zeros(0))
    if ids.ndim != 1 or ids.dtype.kind not in "iu" or not 0 < len(ids) <= _MOST_FRAMES:
        return {}
    found = {"errors/ids": ids.astype(np.uint32)}
    for name in MEASURES:
        values = arrays.get(name)
        if values is not None and values.shape == ids.shape and values.dtype.kind == "f":
            found[f"errors/{name}"] = values.astype(np.float32)
    return found
