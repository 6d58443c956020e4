"""Synthetic landmark tracks with known ground truth, as a detector would report them; no images."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from headsplat.camera import project
from headsplat.frames.crop import Crop
from headsplat.heads.landmarks import MEDIAPIPE_GROUPS, compact, contour_points, points
from headsplat.heads.model import HeadModel
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_axis_angle
from headsplat.runtime.files import write_json, write_npz
from headsplat.tracking.observations import POINTS
from headsplat.tracking.scores import (
    BLINK,
    GAZE_GAIN,
    JAW_OPEN,
    LOOK_DOWN,
    LOOK_IN,
    LOOK_OUT,
    LOOK_UP,
    SCORES,
)

SIZE = 512
FLIP = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class GroundTruth:
    """Parameters of a clip: jaw and eyes as axis-angles, focal length in pixels."""

    shape: np.ndarray
    exp: np.ndarray
    jaw: np.ndarray
    eyes: np.ndarray
    lids: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray
    focal: float


def _smooth(rng: np.random.Generator, frames: int, columns: int, width: float) -> np.ndarray:
    """(N, columns) random curves of unit variance with a time scale of about `width` frames."""
    reach = int(4 * width)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    noise = rng.normal(size=(frames + 2 * reach, columns))
    curves = [np.convolve(noise[:, k], kernel, "valid") for k in range(columns)]
    return np.stack(curves, 1) / np.sqrt((kernel**2).sum())


def _blinks(rng: np.random.Generator, frames: int) -> np.ndarray:
    """(N, 2) lid closures of three to four frames, every two to four seconds."""
    lids = np.full(frames, 0.08)
    at = int(rng.integers(10, 40))
    while at + 5 < frames:
        lids[at : at + 5] = (0.35, 0.9, 1.0, 0.7, 0.25)
        at += int(rng.integers(45, 110))
    return np.stack([lids, np.clip(lids * 0.97, 0, 1)], 1)


def make_ground_truth(
    head: HeadModel, frames: int, seed: int = 0, motion: float = 1.0, focal: float = 1400.0
) -> GroundTruth:
    """Random identity with unit-Gaussian codes, and motion: talking, blinking, gaze, head turns.

    Args:
        head: whose parameters.
        frames: number of frames, at 25 fps.
        seed: of the random numbers.
        motion: scale of the head's turns and shifts; 0 keeps the head still.
        focal: focal length in pixels of the 512 px image.
    """
    rng = np.random.default_rng(seed)
    shape = rng.normal(size=len(head.shape_std)) * head.shape_std * 0.7
    curves = _smooth(rng, frames, len(head.expression_std), 4.0)
    if head.expression_range is None:
        exp = curves * head.expression_std * 0.6
    else:
        exp = np.clip(curves - 0.8, 0, None) * head.expression_std
        exp = np.clip(exp, head.expression_range[:, 0], head.expression_range[:, 1])
    talk = np.clip(_smooth(rng, frames, 1, 2.5)[:, 0] + 0.3, 0, None)
    jaw = np.stack([0.10 * talk, *(_smooth(rng, frames, 2, 10.0).T * 0.005)], 1)
    gaze = np.round(_smooth(rng, frames, 2, 12.0) * 1.5) / 1.5 * (0.06, 0.12)
    eyes = np.zeros((frames, 2, 3))
    eyes[..., :2] = gaze[:, None]
    turns = _smooth(rng, frames, 3, 14.0) * np.radians([5, 13, 4]) * motion
    rotation = FLIP @ matrix_from_axis_angle(torch.as_tensor(turns)).numpy()
    distance = focal * 0.19 / 200
    shift = _smooth(rng, frames, 3, 18.0) * [0.012, 0.008, 0.03 * distance] * motion
    translation = shift + [0.0, 0.01, distance]
    return GroundTruth(shape, exp, jaw, eyes, _blinks(rng, frames), rotation, translation, focal)


def head_inputs(ground_truth: GroundTruth) -> dict[str, torch.Tensor]:
    """Keyword arguments of `HeadGeometry.vertices`, float64."""
    tensors = {name: torch.as_tensor(getattr(ground_truth, name)) for name in ("shape", "exp")}
    tensors["jaw"] = matrix_from_axis_angle(torch.as_tensor(ground_truth.jaw))
    tensors["eyes"] = matrix_from_axis_angle(torch.as_tensor(ground_truth.eyes))
    return tensors | {"eyelids": torch.as_tensor(ground_truth.lids)}


def detect(
    head: HeadModel,
    ground_truth: GroundTruth,
    noise: float = 1.0,
    outliers: float = 0.02,
    missing: tuple[int, ...] = (),
    seed: int = 1,
) -> tuple[np.ndarray, Crop]:
    """(N, 478, 3) landmarks in crop pixels, and the crop (a whole 512 px source).

    Args:
        head: whose landmarks.
        ground_truth: the clip.
        noise: standard deviation, pixels, white.
        outliers: fraction of points displaced by tens of pixels.
        missing: frames (from 0) without a face: NaN.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    geometry = HeadGeometry(head, dtype=torch.float64)
    ids, (marks, contour) = compact(head.landmarks["mediapipe"], head.landmarks["contour"])
    vertices = geometry.vertices(**head_inputs(ground_truth), vertex_ids=torch.as_tensor(ids))
    rotation, translation = (
        torch.as_tensor(ground_truth.rotation),
        torch.as_tensor(ground_truth.translation),
    )
    camera = torch.tensor(
        [ground_truth.focal, ground_truth.focal, SIZE / 2, SIZE / 2], dtype=torch.float64
    )

    def pixels(where: torch.Tensor) -> np.ndarray:
        return project(where, rotation, translation, camera)[..., :2].numpy()

    frames = len(ground_truth.exp)
    detected = np.zeros((frames, POINTS, 3))
    jaw_line = pixels(contour_points(vertices, contour, rotation))
    detected[:, list(MEDIAPIPE_GROUPS["oval"]), :2] = _closed_oval(jaw_line)
    detected[:, marks.index, :2] = pixels(points(vertices, marks))
    detected[..., :2] += rng.normal(size=(frames, POINTS, 2)) * noise
    thrown = rng.random((frames, POINTS)) < outliers
    detected[..., :2][thrown] += rng.normal(size=(int(thrown.sum()), 2)) * 25
    detected[list(missing)] = np.nan
    return detected, Crop(0.0, 0.0, float(SIZE), SIZE, SIZE, SIZE)


def _closed_oval(jaw_line: np.ndarray) -> np.ndarray:
    """(N, 17, 2) -> (N, 36, 2): the jaw line, closed by an arc over the forehead."""
    ends, chin = jaw_line[:, [16, 0]], jaw_line[:, 8]
    middle = ends.mean(1, keepdims=True)
    side = (ends[:, :1] - ends[:, 1:]) / 2
    up = middle - chin[:, None]
    angle = np.linspace(0, np.pi, 21)[1:-1, None]
    arc = middle + np.cos(angle) * side + np.sin(angle) * up * 0.8
    return np.concatenate([jaw_line, arc], 1)


def blendshape_scores(ground_truth: GroundTruth, noise: float = 0.03, seed: int = 2) -> np.ndarray:
    """(N, 52) scores as MediaPipe gives them: a shut eye scores 0.6, the gaze 1 per 0.5 radians.

    Args:
        ground_truth: the clip.
        noise: standard deviation, white.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    scores = np.zeros((len(ground_truth.exp), SCORES))
    for k, (side, outward) in enumerate((("left", 1), ("right", -1))):
        scores[:, BLINK[side]] = 0.05 + 0.55 * ground_truth.lids[:, k]
        pitch, yaw = ground_truth.eyes[:, k, :2].T / GAZE_GAIN
        scores[:, LOOK_DOWN[side]], scores[:, LOOK_UP[side]] = pitch, -pitch
        scores[:, LOOK_OUT[side]], scores[:, LOOK_IN[side]] = outward * yaw, -outward * yaw
    scores[:, JAW_OPEN] = ground_truth.jaw[:, 0] / np.deg2rad(25)
    return np.clip(scores + rng.normal(size=scores.shape) * noise, 0, 1).astype(np.float32)


def write_inputs(
    folder: Path, landmarks: np.ndarray, crop: Crop, scores: np.ndarray | None = None
) -> None:
    """Write the tracking stage's three input files into `folder`."""
    frames = len(landmarks)
    seen = np.isfinite(landmarks).all((1, 2))
    status = np.where(seen, "ok", "no_face")
    write_npz(
        folder / "landmarks.npz",
        ids=np.arange(1, frames + 1, dtype=np.int32),
        points=landmarks.astype(np.float32),
        status=status,
        confidence=seen.astype(np.float32),
        time=np.arange(frames) / 25.0,
        **({} if scores is None else {"blendshapes": scores}),
    )
    write_json(folder / "crop.json", asdict(crop))
    lines = ["id\ttime\tstatus\tconfidence\tfaces"]
    for k in range(frames):
        lines.append(f"{k + 1}\t{k / 25:.6f}\t{status[k]}\t{float(seen[k])}\t{int(seen[k])}")
    (folder / "frames.tsv").write_text("\n".join(lines) + "\n")
