"""The subject's landmarks, the state of every frame, and the crop: the solve_crop stage."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headsplat.detect.face_alignment_points import disagreement
from headsplat.detect.framing import solve_crop_box
from headsplat.detect.quality import frame_confidence, frame_status, share_outside
from headsplat.detect.subject import Subject, find_subject
from headsplat.frames.table import FrameRow, write_frames
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz, write_npz
from headsplat.video.info import VideoInfo
from headsplat.video.timeline import FPS

log = logging.getLogger(__name__)
SMALLEST = 120  # px from forehead to chin; below, there is not enough detail for an avatar
EXTRAS = ("blendshapes", "points68")
COLORS = "colors"
SPANS_TOLD = 8
LEAST_PRESENCE = 0.2  # share of the frames that must show the subject


@dataclass(frozen=True)
class Detections:
    """All faces of a clip: frame id, points (m, 478, 3) px, score and sharpness of each.

    `colors` is (m, 468, 3) uint8, or None where people cannot be told apart by it. `extras` is
    what some detectors give besides: `blendshapes` (m, 52), `points68` (m, 68, 2).
    """

    face_frame: np.ndarray
    faces: np.ndarray
    score: np.ndarray
    sharpness: np.ndarray
    colors: np.ndarray | None
    extras: dict[str, np.ndarray]


def solve_crop(
    info_path: Path,
    landmark_paths: Sequence[Path],
    crop_out: Path,
    frames_out: Path,
    landmarks_out: Path,
    size: int,
) -> None:
    """Choose the subject and the crop and publish `crop.json`, `frames.tsv`, `landmarks.npz`.

    Frames that show somebody else instead of the subject are left out, and the log says which.

    Raises:
        UserError: frames are missing among the landmark files; there is no face, only faces
            that are too small, or a face in less than a fifth of the frames.
    """
    info = VideoInfo.load(info_path)
    found = _read_detections(landmark_paths, info)
    chosen = _subject(found, info)
    rows, at = np.array(chosen.track.rows), np.array(chosen.track.ids) - 1
    points = np.full((info.n_frames, *found.faces.shape[1:]), np.nan, np.float32)
    score = np.full(info.n_frames, np.nan, np.float32)
    sharpness = np.full(info.n_frames, np.nan, np.float32)
    points[at], score[at], sharpness[at] = (
        found.faces[rows],
        found.score[rows],
        found.sharpness[rows],
    )
    extras = {}
    for name, values in found.extras.items():
        extras[name] = np.full((info.n_frames, *values.shape[1:]), np.nan, np.float32)
        extras[name][at] = values[rows]
    if "points68" in extras:
        apart = 100 * disagreement(points, extras["points68"])
        log.info("the second detector's points are %.1f %% of the eye distance off", apart)

    box = solve_crop_box(found.faces[rows], (info.width, info.height), size)
    corner = np.array([box.x0, box.y0])
    low = np.maximum(corner, 0)
    high = np.minimum(corner + box.side, [info.width, info.height])
    outside = np.where(np.isnan(score), np.nan, share_outside(points, low, high))
    faces = np.bincount(found.face_frame, minlength=info.n_frames + 1)[1:]
    undecodable = np.isin(np.arange(1, info.n_frames + 1), info.undecodable)
    others = np.isin(np.arange(1, info.n_frames + 1), chosen.others)
    status = frame_status(~np.isnan(score), undecodable, outside, sharpness, faces, others)
    confidence = frame_confidence(points, score, sharpness, outside)
    confidence[undecodable] = 0

    box.save(crop_out)
    columns = zip(status, confidence, faces, strict=True)
    rows = (
        FrameRow(k + 1, k / FPS, str(s), float(c), int(n)) for k, (s, c, n) in enumerate(columns)
    )
    write_frames(frames_out, rows)
    write_npz(
        landmarks_out,
        ids=np.arange(1, info.n_frames + 1, dtype=np.int32),
        points=points,
        status=status,
        confidence=confidence.astype(np.float32),
        time=np.arange(info.n_frames) / FPS,
        **extras,
    )
    names, counts = np.unique(status, return_counts=True)
    log.info(
        "crop %d x %d px at (%d, %d); frames: %s",
        box.side,
        box.side,
        box.x0,
        box.y0,
        ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True)),
    )


def _read_detections(paths: Sequence[Path], info: VideoInfo) -> Detections:
    keys = ("ids", "face_frame", "faces", "score", "sharpness")
    parts = [read_npz(path, required=keys) for path in paths]
    parts.sort(key=lambda part: part["ids"].min(initial=info.n_frames + 1))
    ids = np.concatenate([part["ids"] for part in parts])
    if not np.array_equal(ids, np.arange(1, info.n_frames + 1)):
        lost = sorted(set(range(1, info.n_frames + 1)) - set(ids.tolist()))
        fault = f"first missing: {lost[:5]}" if lost else "some twice or out of place"
        raise UserError(
            f"{paths[0]} and the other landmark files: {len(ids)} frames, the video has "
            f"{info.n_frames}; {fault}; find the landmarks again"
        )
    extras = [name for name in EXTRAS if all(name in part for part in parts)]
    colors = None
    if all(COLORS in part for part in parts):
        colors = np.concatenate([part[COLORS] for part in parts])
    return Detections(
        *(np.concatenate([part[key] for part in parts]) for key in keys[1:]),
        colors=colors,
        extras={name: np.concatenate([part[name] for part in parts]) for name in extras},
    )


def _subject(found: Detections, info: VideoInfo) -> Subject:
    if len(found.faces) == 0:
        raise UserError(
            f"{info.path}: no face in any frame; give a video that shows one head from near"
        )
    size = np.array([info.width, info.height])
    chosen = find_subject(found.face_frame, found.faces, found.colors, size, SMALLEST)
    # Rounded down: a number that falls short must not be printed as the one it falls short of.
    if chosen.track is None:
        raise UserError(
            f"{info.path}: no face in any frame is large enough: the largest measures "
            f"{int(chosen.largest)} px from forehead to chin (median of its frames), "
            f"{SMALLEST} are needed; give a video filmed closer to the head"
        )
    seen = len(chosen.track.ids)
    if seen / info.n_frames < LEAST_PRESENCE:
        other = len(chosen.others)
        none = info.n_frames - seen - other
        cure = "of one person" if other > none else "in which the face stays in sight"
        raise UserError(
            f"{info.path}: the subject's face is in {seen} of {info.n_frames} frames "
            f"({int(100 * seen / info.n_frames)}%), at least {LEAST_PRESENCE:.0%} are needed; "
            f"{other} show another person, {none} no face or one of another size or place; "
            f"give a video {cure}"
        )
    if len(chosen.others):
        log.info("%s", _left_out(chosen.others))
    return chosen


def _left_out(ids: np.ndarray) -> str:
    """What the log says of the frames that show somebody else; ids ascending."""
    parts = np.split(ids, np.flatnonzero(np.diff(ids) > 1) + 1)
    spans = [f"from {(part[0] - 1) / FPS:.1f} s to {part[-1] / FPS:.1f} s" for part in parts]
    more = f" and {len(spans) - SPANS_TOLD} times more" if len(spans) > SPANS_TOLD else ""
    told = ", ".join(spans[:SPANS_TOLD])
    return f"another person {told}{more}: {len(ids)} frames left out"
