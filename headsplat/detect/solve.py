"""Crop stage, part one: subject selection, status of every frame, and the square crop window."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headsplat.detect.face_alignment_points import disagreement
from headsplat.detect.quality import frame_confidence, frame_status, share_outside
from headsplat.detect.subject import Subject, face_heights, find_subject
from headsplat.frames.crop import Crop, widened
from headsplat.frames.table import FrameRow, write_frames
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz, write_npz
from headsplat.runtime.storage import AGAIN, DamagedFile
from headsplat.video.info import VideoInfo
from headsplat.video.timeline import FPS

log = logging.getLogger(__name__)
SMALLEST_FACE = 120  # px from forehead to chin; smaller faces lack detail for an avatar
EXTRAS = ("blendshapes", "points68")
COLORS = "colors"
# Kinds of numbers of the arrays that have a row for each face, and the shape of a row.
ARRAYS = {
    "face_frame": ("iu", ()), "faces": ("f", (478, 3)), "score": ("f", ()), "sharpness": ("f", ()),
    COLORS: ("u", (468, 3)), "blendshapes": ("f", (52,)), "points68": ("f", (68, 2)),
}  # fmt: skip
LOGGED_SPANS = 8
LEAST_PRESENCE = 0.2  # share of the frames that must show the subject
CROP_TAIL = 2.0  # percent of extreme frames on each side that do not determine the crop
# Margins around the face boxes in face heights (forehead to chin): for hair and neck, and the
# smaller ones used before the crop leaves the image.
WANTED_MARGIN = {"left": 0.5, "right": 0.5, "top": 0.5, "bottom": 0.5}
LEAST_MARGIN = {"left": 0.2, "right": 0.2, "top": 0.3, "bottom": 0.15}


@dataclass(frozen=True)
class Detections:
    """All detected faces of a clip.

    Attributes:
        face_frame: (m,) frame ids.
        faces: (m, 478, 3) points in px.
        score: (m,) in [0, 1].
        sharpness: (m,).
        colors: (m, 468, 3) uint8 RGB; None if the files do not have them.
        extras: optional outputs of some detectors: `blendshapes` (m, 52), `points68` (m, 68, 2).
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
    """Choose the subject and the crop; write `crop.json`, `frames.tsv` and `landmarks.npz`.

    Frames that show other people and not the subject are marked in `frames.tsv` and logged.

    Args:
        info_path: `video.json`.
        landmark_paths: `.npz` files of `detect_chunk`, all chunks.
        crop_out: `crop.json` to write.
        frames_out: `frames.tsv` to write.
        landmarks_out: `landmarks.npz` to write.
        size: side of the cropped images in pixels.

    Raises:
        UserError: the landmark files lack frames; or there is no face, no face that is large
            enough, or a face in less than a fifth of the frames.
    """
    info = VideoInfo.load(info_path)
    found = _read_detections(landmark_paths, info)
    chosen = _subject(found, info)
    rows, at = np.array(chosen.track.rows), np.array(chosen.track.ids) - 1
    points, score, sharpness = (
        _per_frame(values[rows], at, info.n_frames)
        for values in (found.faces, found.score, found.sharpness)
    )
    extras = {
        name: _per_frame(values[rows], at, info.n_frames) for name, values in found.extras.items()
    }
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
    frames = ", ".join(f"{count} {name}" for name, count in zip(names, counts, strict=True))
    log.info("crop %d x %d px at (%d, %d); frames: %s", box.side, box.side, box.x0, box.y0, frames)


def _per_frame(values: np.ndarray, at: np.ndarray, n_frames: int) -> np.ndarray:
    """(n_frames, ...) float32 with `values` at the frame indices `at`, NaN elsewhere."""
    result = np.full((n_frames, *values.shape[1:]), np.nan, np.float32)
    result[at] = values
    return result


def solve_crop_box(points: np.ndarray, source_size: tuple[int, int], size: int) -> Crop:
    """Compute the square crop window around the head in all but the most extreme frames.

    The union of the face boxes, between percentiles, is widened by half a face height on every
    side and clipped to the image. If the image is too narrow for that square, the margins shrink
    to a minimum before the square leaves the image.

    Args:
        points: (n, 478, 3) px, the frames with a face.
        source_size: (width, height) of the source image in px.
        size: side of the cropped images in pixels.
    """
    low = np.percentile(points[..., :2].min(axis=1), CROP_TAIL, axis=0)
    high = np.percentile(points[..., :2].max(axis=1), 100 - CROP_TAIL, axis=0)
    face, shorter = float(np.median(face_heights(points))), min(source_size)
    crop = Crop.around(*widened(low, high, face, WANTED_MARGIN, source_size), source_size, size)
    if crop.side > shorter:
        box = widened(low, high, face, LEAST_MARGIN, source_size)
        crop = Crop.around(*box, source_size, size, least=shorter)
    return crop


def _read_detections(paths: Sequence[Path], info: VideoInfo) -> Detections:
    keys = ("ids", "face_frame", "faces", "score", "sharpness")
    parts = [read_npz(path, required=keys) for path in paths]
    for path, part in zip(paths, parts, strict=True):
        _check(path, part)
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


def _check(path: Path, part: dict[str, np.ndarray]) -> None:
    """Check the arrays of a file of `detect_chunk`.

    Raises:
        UserError: an array has another shape or type, or face points that are not finite.
    """
    count = part["face_frame"].size
    for name, (kind, shape) in ARRAYS.items():
        array = part.get(name)
        if array is not None and (array.dtype.kind not in kind or array.shape != (count, *shape)):
            raise DamagedFile(
                f"{path}: {name} is {array.dtype} {list(array.shape)}, expected "
                f"{list((count, *shape))} for {count} faces; {AGAIN}"
            )
    if not np.isfinite(part["faces"]).all():
        raise DamagedFile(f"{path}: points of a face are not finite; {AGAIN}")
    if not np.isin(part["face_frame"], part["ids"]).all():
        raise DamagedFile(f"{path}: faces in frames that it does not have; {AGAIN}")


def _subject(found: Detections, info: VideoInfo) -> Subject:
    if len(found.faces) == 0:
        raise UserError(
            f"{info.path}: no face in any frame; give a video with a close view of one head"
        )
    size = np.array([info.width, info.height])
    chosen = find_subject(found.face_frame, found.faces, found.colors, size, SMALLEST_FACE)
    # Rounded down, so that a number below a limit is not printed as the limit.
    if chosen.track is None:
        raise UserError(
            f"{info.path}: no face in any frame is large enough: the largest measures "
            f"{int(chosen.largest)} px from forehead to chin (median of its frames), "
            f"{SMALLEST_FACE} are needed; give a video filmed closer to the head"
        )
    seen = len(chosen.track.ids)
    if seen / info.n_frames < LEAST_PRESENCE:
        other = len(chosen.others)
        none = info.n_frames - seen - other
        fix = "of one person" if other > none else "in which the face stays in sight"
        raise UserError(
            f"{info.path}: the subject's face is in {seen} of {info.n_frames} frames "
            f"({int(100 * seen / info.n_frames)}%), at least {LEAST_PRESENCE:.0%} are needed; "
            f"{other} show another person, {none} no face or one of another size or place; "
            f"give a video {fix}"
        )
    if len(chosen.others):
        log.info("%s", _describe_removed(chosen.others))
    return chosen


def _describe_removed(ids: np.ndarray) -> str:
    """Log line for frames that show other people, from their ids in ascending order."""
    parts = np.split(ids, np.flatnonzero(np.diff(ids) > 1) + 1)
    spans = [f"from {(part[0] - 1) / FPS:.1f} s to {part[-1] / FPS:.1f} s" for part in parts]
    more = f" and {len(spans) - LOGGED_SPANS} times more" if len(spans) > LOGGED_SPANS else ""
    listed = ", ".join(spans[:LOGGED_SPANS])
    return f"another person {listed}{more}: {len(ids)} frames left out"
