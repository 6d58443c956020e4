"""Export of FLAME parameters: one `.npz` per frame, and CSV tables."""

import csv
from pathlib import Path

import numpy as np

from headsplat.formats.flame import axis_angle_from_six, require_flame_track, vectors
from headsplat.heads.model import HeadModel
from headsplat.runtime.files import publish_folder
from headsplat.runtime.progress import progress
from headsplat.track import Track, read_track


def export_flame_parameters(track_path: Path, head_path: Path, out: Path) -> None:
    """Publish the folder `out`: `<id>.npz` and `frames.csv`, `shape.csv`.

    Raises:
        UserError: the head is not FLAME.
    """
    track, head = read_track(track_path), HeadModel.load(head_path)
    require_flame_track(track, head, "the export")
    columns = frame_columns(track)
    shared = {
        "shape": np.asarray(track.shape, np.float32), "K": np.asarray(track.K, np.float32),
        "img_size": np.asarray(track.img_size, np.int64), "head_version": np.array(head.version),
        "fps": np.float32(track.fps),
    }  # fmt: skip
    with publish_folder(out) as folder:
        for row, i in enumerate(progress(track.ids.tolist(), len(track.ids), "export")):
            frame = {key: value[row].astype(np.float32) for key, value in columns.items()}
            frame |= {"R": track.R[row].astype(np.float32), "interpolated": track.interpolated[row]}
            np.savez(folder / f"{i:05d}.npz", **frame, **shared)
        _write_frames(folder / "frames.csv", track, columns)
        rows = [[f"shape_{k:03d}", repr(float(v))] for k, v in enumerate(track.shape)]
        _write(folder / "shape.csv", ["code", "value"], rows)


def frame_columns(track: Track) -> dict[str, np.ndarray]:
    """Name -> (N, k): codes, axis-angles in radians, and head to OpenCV camera in meters."""
    return {
        "exp": track.exp, "jaw_pose": axis_angle_from_six(track.jaw),
        "eyes_pose": axis_angle_from_six(track.eyes), "eyelids": track.eyelids,
        "rotation": vectors(track.R), "t": track.t,
    }  # fmt: skip


def _write_frames(path: Path, track: Track, columns: dict[str, np.ndarray]) -> None:
    names = ["id", "time", "interpolated"]
    for key, value in columns.items():
        names += [f"{key}_{k:03d}" for k in range(value.shape[1])]
    values = np.concatenate(list(columns.values()), 1)
    rows = []
    for i, missing, row in zip(track.ids.tolist(), track.interpolated, values, strict=True):
        time = f"{(i - 1) / track.fps:.4f}"
        rows.append([i, time, int(missing), *(f"{v:.9g}" for v in row)])
    _write(path, names, rows)


def _write(path: Path, names: list[str], rows: list[list]) -> None:
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(names)
        writer.writerows(rows)
