"""Export of a track as ARKit blendshapes, in Live Link Face's CSV.

The expressions of the heads `ict` and `procedural` are ARKit's, with brows and cheeks split by side
and without a tongue. Jaw joint and lid shapes are converted back to `JawOpen` and `EyeBlink`. A
shape that the head lacks is 0.
"""

import csv
from pathlib import Path

import numpy as np

from headsplat.formats.arkit.names import (
    BLENDSHAPES,
    GAZE,
    JAW_OPEN,
    ROTATIONS,
    arkit_name,
    has_arkit_shapes,
)
from headsplat.formats.flame import FLIP, axis_angle_from_six
from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish
from headsplat.track import Track, check_head, read_track


def export_arkit(track_path: Path, head_path: Path, out: Path) -> None:
    """Publish the table: `Timecode`, `BlendShapeCount`, 52 coefficients, 9 angles in radians.

    Raises:
        UserError: the head's expression shapes have other names than ARKit's.
    """
    track, head = read_track(track_path), HeadModel.load(head_path)
    check_head(track, head.name, head.version)
    if not has_arkit_shapes(head.expression_names):
        raise UserError(
            f"ARKit's blendshapes are those of the heads 'ict' and 'procedural', the subject's is "
            f"'{head.name}'; write 'ict' in the column 'head' and track the clip again"
        )
    values = np.concatenate([blendshapes(track, head), rotations(track)], 1)
    with publish(out) as temporary, open(temporary, "w", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["Timecode", "BlendShapeCount", *BLENDSHAPES, *ROTATIONS])
        for i, row in zip(track.ids.tolist(), values, strict=True):
            count = len(BLENDSHAPES) + len(ROTATIONS)
            writer.writerow([timecode(i - 1, track.fps), count, *(f"{v:.6f}" for v in row)])


def blendshapes(track: Track, head: HeadModel) -> np.ndarray:
    """(N, 52) coefficients in 0..1, in the order of `BLENDSHAPES`."""
    codes = dict(zip(head.expression_names, np.asarray(track.exp, np.float64).T, strict=True))
    columns: dict[str, list[np.ndarray]] = {}
    for name, values in codes.items():
        # Brows and cheeks that ARKit does not split are the mean of both sides.
        columns.setdefault(arkit_name(name), []).append(values)
    merged = {name: np.mean(parts, axis=0) for name, parts in columns.items()}
    merged["JawOpen"] = axis_angle_from_six(track.jaw)[:, 0] / JAW_OPEN
    merged["EyeBlinkLeft"], merged["EyeBlinkRight"] = np.asarray(track.eyelids, np.float64).T
    merged |= _gaze(axis_angle_from_six(track.eyes))
    lacking = np.zeros(len(track.ids))
    return np.clip(np.stack([merged.get(name, lacking) for name in BLENDSHAPES], 1), 0, 1)


def rotations(track: Track) -> np.ndarray:
    """Yaw, pitch and roll of the head, the left and the right eye, (N, 9) radians.

    Yaw is positive to the subject's left, pitch downwards, roll towards the subject's right
    shoulder: about the head's y, x and z axes.
    """
    eyes = axis_angle_from_six(track.eyes).reshape(-1, 2, 3)
    columns = [_angles(FLIP @ np.asarray(track.R, np.float64))]
    columns += [eyes[:, side][:, [1, 0, 2]] for side in range(2)]
    return np.concatenate(columns, 1)


def timecode(index: int, fps: float) -> str:
    """Hours, minutes, seconds, frame, thousandths of a frame of the index-th frame."""
    seconds, frame = divmod(index, round(fps))
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frame:02d}.000"


def _gaze(eyes: np.ndarray) -> dict[str, np.ndarray]:
    """EyeLook coefficients of (N, 6) axis-angles, left eye first."""
    found = {}
    for side, turn, outwards in (("Left", eyes[:, :3], 1), ("Right", eyes[:, 3:], -1)):
        down, out = turn[:, 0] / GAZE, outwards * turn[:, 1] / GAZE
        found |= {
            f"EyeLookDown{side}": down, f"EyeLookUp{side}": -down,
            f"EyeLookOut{side}": out, f"EyeLookIn{side}": -out,
        }  # fmt: skip
    return found


def _angles(R: np.ndarray) -> np.ndarray:
    """(N, 3, 3) -> (N, 3) yaw about y, pitch about x, roll about z of R = Ry Rx Rz."""
    yaw = np.arctan2(R[:, 0, 2], R[:, 2, 2])
    pitch = -np.arcsin(np.clip(R[:, 1, 2], -1, 1))
    roll = np.arctan2(R[:, 1, 0], R[:, 1, 1])
    return np.stack([yaw, pitch, roll], 1)
