"""The folder of an Audio2Face-3D 2.3 actor: sizes, shapes and parameters, checked as a whole.

Files: `network.onnx`, `network_info.json`, `model_config.json`, `model_data.npz`,
`implicit_emo_db.npz`, `bs_skin.npz`, `bs_skin_config.json`. Tongue files are not used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headsplat.formats.arkit.names import BLENDSHAPES, arkit_name
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.files import read_json, read_npz
from headsplat.speech.voices import RATE

_FIX = "give the actor's whole folder"
_LARGEST = {"width": 4096, "buffer": 10 * RATE, "poses": 200}
_NUMBER = 1e4  # largest parameter
_PARAMETERS = (
    "input_strength", "upper_face_smoothing", "lower_face_smoothing", "upper_face_strength",
    "lower_face_strength", "face_mask_level", "face_mask_softness", "skin_strength",
    "eyelid_open_offset", "lip_open_offset",
)  # fmt: skip
_STRENGTHS = ("strengthL1regularization", "strengthL2regularization", "strengthTemporalSmoothing",
              "strengthSymmetry")  # fmt: skip
_SMALLEST = 1e-3  # size of a head
_TEMPLATE = 54.7  # size of the head that the strengths are for, if the file does not say


@dataclass(frozen=True)
class Network:
    """Sizes from `network_info.json`.

    Attributes:
        buffer: samples of a window.
        offset: samples of it before the frame's time.
        skin: number of skin coefficients, the first of the result.
        result: length of the result.
        emotions: names of the explicit emotions.
        emotion: (16 + emotions,) the implicit emotion and the default of the explicit ones.
    """

    buffer: int
    offset: int
    skin: int
    result: int
    emotions: tuple[str, ...]
    emotion: np.ndarray


@dataclass(frozen=True)
class Poses:
    """Blend shapes of `bs_skin.npz` and `bs_skin_config.json`, on the vertices of the solve.

    Attributes:
        names: of the P poses, as in `headsplat.formats.arkit.names`.
        active: (P,) bool.
        deltas: (P, 3 M) float64.
        strengths: L1, L2, temporal, symmetry.
        scale: squared size of the head over that of the template.
        cancel: pairs of pose numbers of which one is 0.
        symmetric: pairs that move together.
        multipliers: (P,); offsets (P,).
    """

    names: tuple[str, ...]
    active: np.ndarray
    deltas: np.ndarray
    strengths: tuple[float, float, float, float]
    scale: float
    cancel: tuple[tuple[int, int], ...]
    symmetric: tuple[tuple[int, int], ...]
    multipliers: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True)
class Actor:
    """An actor's folder.

    Attributes:
        path: the folder.
        network: sizes.
        parameters: numbers of `model_config.json`.
        matrix: (skin, 3 M) displacement of the solve's vertices by each coefficient.
        rest: (3 M,) mean face minus the poses' neutral face.
        constant: (3 M,) displacement of eyelids and lips by their offsets.
        lower: (3 M,) share of the lower face in 0..1.
        poses: blend shapes.
    """

    path: Path
    network: Network
    parameters: Mapping[str, float]
    matrix: np.ndarray
    rest: np.ndarray
    constant: np.ndarray
    lower: np.ndarray
    poses: Poses


def read_actor(path: Path) -> Actor:
    """Read and check all files but the network itself.

    Raises:
        UserError: a file is missing or damaged, or sizes do not agree; the message names the file.
    """
    config = _json(path / "model_config.json", "config")
    parameters = {name: _number(config, name, path / "model_config.json") for name in _PARAMETERS}
    if parameters["face_mask_softness"] <= 0:
        raise UserError(
            f"{path / 'model_config.json'}: 'face_mask_softness' is not above 0; {_FIX}"
        )
    network = _network(path, config)
    file = path / "bs_skin.npz"
    shapes = read_npz(file, ("poseNames", "neutral"), _FIX)
    neutral = _array(shapes, "neutral", (None, 3), file)
    rows = _rows(shapes, len(neutral), file)
    file = path / "model_data.npz"
    data = read_npz(file, ("shapes_matrix_skin", "shapes_mean_skin"), _FIX)
    mesh = (len(neutral), 3)
    matrix = _array(data, "shapes_matrix_skin", (network.skin, *mesh), file)
    mean = _array(data, "shapes_mean_skin", mesh, file)
    lips = _array(data, "lip_open_pose_delta", mesh, file)
    lids = _array(data, "eye_close_pose_delta", mesh, file)
    constant = parameters["lip_open_offset"] * lips - parameters["eyelid_open_offset"] * lids
    y = mean[:, 1]
    height = (y - y.min()) / max(float(np.ptp(y)), 1e-9)
    off = (parameters["face_mask_level"] - height) / parameters["face_mask_softness"]
    lower = np.repeat(0.5 + 0.5 * np.tanh(off / 2), 3).reshape(mesh)  # the logistic function

    def flat(values: np.ndarray) -> np.ndarray:
        return values[..., rows, :].reshape(*values.shape[:-2], -1).astype(np.float64)

    return Actor(
        path,
        network,
        parameters,
        flat(matrix),
        flat(mean) - flat(neutral),
        flat(constant),
        flat(lower),
        _poses(path, shapes, neutral, flat),
    )


def _network(path: Path, config: Mapping[str, Any]) -> Network:
    file = path / "network_info.json"
    kind, params, audio = (_json(file, name) for name in ("id", "params", "audio_params"))
    if (kind.get("type"), kind.get("output")) != ("regression", "geometry"):
        raise UserError(
            f"{file}: is a network of type {shown(str(kind.get('type')), 40)}, expected the "
            "regression of version 2.3; give the folder of Audio2Face-3D-v2.3"
        )
    sizes = [
        _integer(params, name, 1 if name == "num_shapes_skin" else 0, _LARGEST["width"], file)
        for name in ("num_shapes_skin", "num_shapes_tongue", "result_jaw_size", "result_eyes_size")
    ]
    buffer = _integer(audio, "buffer_len", 1, _LARGEST["buffer"], file)
    offset = _integer(audio, "buffer_ofs", 0, buffer, file)
    _integer(audio, "samplerate", RATE, RATE, file)
    names = params.get("explicit_emotions")
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or len(names) > 99:
        raise UserError(f"{file}: 'explicit_emotions' is no list of names; {_FIX}")
    default = _numbers(params, "default_emotion", len(names), file)
    hidden = _implicit(path, config, _integer(params, "implicit_emo_len", 0, 999, file))
    emotion = np.concatenate([hidden, default]).astype(np.float32)
    return Network(buffer, offset, sizes[0], sum(sizes), tuple(names), emotion)


def _implicit(path: Path, config: Mapping[str, Any], length: int) -> np.ndarray:
    """(length,) the row of the emotion data base that `model_config.json` names."""
    file = path / "implicit_emo_db.npz"
    arrays = read_npz(file, ("emo_spec_names", "emo_spec_start", "emo_db"), _FIX)
    rows = _array(arrays, "emo_db", (None, length), file)
    names, shot = _texts(arrays["emo_spec_names"]), config.get("source_shot")
    starts = arrays["emo_spec_start"]
    if shot not in names or starts.shape != (len(names),) or starts.dtype.kind not in "iu":
        raise UserError(f"{file}: has no emotion '{shown(str(shot), 40)}'; {_FIX}")
    row = int(starts[names.index(shot)])
    row += _integer(config, "source_frame", 0, 1 << 31, path / "model_config.json")
    if not 0 <= row < len(rows):
        raise UserError(f"{file}: has {len(rows)} rows, 'source_frame' leads to {row}; {_FIX}")
    return rows[row]


def _poses(path: Path, shapes: Mapping[str, np.ndarray], neutral: np.ndarray, flat: Any) -> Poses:
    file = path / "bs_skin.npz"
    spelled = _texts(shapes["poseNames"])[1:]
    names = tuple(map(arkit_name, spelled))
    wrong = [raw for raw, name in zip(spelled, names, strict=True) if name not in BLENDSHAPES]
    if wrong or not spelled or len(set(names)) < len(names):
        what = f"'{shown(wrong[0], 40)}' is none" if wrong else "'poseNames' are not distinct"
        raise UserError(f"{file}: poses are named after ARKit, {what}; {_FIX}")
    deltas = np.stack([flat(_array(shapes, raw, neutral.shape, file)) for raw in spelled])
    file = path / "bs_skin_config.json"
    own = _json(file, "blendshape_params")
    count = _integer(own, "numPoses", len(names), len(names), file)
    flags = {name: _numbers(own, name, count, file) for name in (
        "bsSolveActivePoses", "bsSolveCancelPoses", "bsSolveSymmetryPoses", "bsWeightMultipliers",
        "bsWeightOffsets",
    )}  # fmt: skip
    strengths = tuple(_number(own, name, file) for name in _STRENGTHS)
    size = _number({"templateBBSize": _TEMPLATE} | own, "templateBBSize", file)
    diagonal = float(np.linalg.norm(np.ptp(neutral.astype(np.float64), axis=0)))
    active = flags["bsSolveActivePoses"] != 0
    if min(strengths) < 0 or size < _SMALLEST or diagonal == 0 or not active.any():
        raise UserError(f"{file}: a strength or size is too low, or no pose is active; {_FIX}")
    return Poses(
        names, active, deltas, strengths, (diagonal / size) ** 2,
        _pairs(flags["bsSolveCancelPoses"], active), _pairs(flags["bsSolveSymmetryPoses"], active),
        flags["bsWeightMultipliers"], flags["bsWeightOffsets"],
    )  # fmt: skip


def _pairs(groups: np.ndarray, active: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Pairs of active poses with the same number; -1 is none."""
    found = []
    for group in sorted({int(g) for g in groups if g >= 0}):
        members = np.flatnonzero((groups == group) & active)
        if len(members) == 2:
            found.append((int(members[0]), int(members[1])))
    return tuple(found)


def _rows(shapes: Mapping[str, np.ndarray], count: int, file: Path) -> np.ndarray:
    """Vertices of the solve: `frontalMask`, or all."""
    rows = shapes.get("frontalMask", np.arange(count))
    inside = rows.ndim == 1 and rows.dtype.kind in "iu" and 0 < len(rows) <= count
    if not inside or rows.min() < 0 or rows.max() >= count:
        raise UserError(f"{file}: 'frontalMask' does not name vertices of the mesh; {_FIX}")
    return rows


def _array(
    arrays: Mapping[str, np.ndarray], name: str, shape: Sequence[int | None], file: Path
) -> np.ndarray:
    if name not in arrays:
        raise UserError(f"{file}: the array '{shown(name, 40)}' is missing; {_FIX}")
    array = arrays[name]
    fits = array.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind != "f" or array.size == 0:
        want = ["any" if n is None else n for n in shape]
        raise UserError(
            f"{file}: '{shown(name, 40)}' is {array.dtype} of shape {list(array.shape)}, expected "
            f"floats of {want}; {_FIX}"
        )
    if not np.isfinite(array).all():
        raise UserError(f"{file}: '{shown(name, 40)}' is not finite; {_FIX}")
    return array


def _texts(array: np.ndarray) -> list[str]:
    flat = array.reshape(-1)[: _LARGEST["poses"]]
    return [t.decode("utf-8", "replace") if isinstance(t, bytes) else str(t) for t in flat.tolist()]


def _json(file: Path, key: str) -> dict[str, Any]:
    value = read_json(file, _FIX)
    found = value.get(key) if isinstance(value, dict) else None
    if not isinstance(found, dict):
        raise UserError(f"{file}: has no table '{key}'; {_FIX}")
    return found


def _number(table: Mapping[str, Any], name: str, file: Path) -> float:
    value = table.get(name)
    if type(value) not in (int, float) or not abs(value) <= _NUMBER:
        raise UserError(f"{file}: '{name}' is {shown(repr(value), 40)}, no number; {_FIX}")
    return float(value)


def _integer(table: Mapping[str, Any], name: str, low: int, high: int, file: Path) -> int:
    value = table.get(name)
    if type(value) is not int or not low <= value <= high:
        wanted = str(low) if low == high else f"{low} to {high}"
        raise UserError(f"{file}: '{name}' is {shown(repr(value), 40)}, expected {wanted}; {_FIX}")
    return value


def _numbers(table: Mapping[str, Any], name: str, count: int, file: Path) -> np.ndarray:
    values = table.get(name)
    good = (
        isinstance(values, list)
        and len(values) == count
        and all(type(v) in (int, float) and abs(v) <= _NUMBER for v in values)
    )
    if not good:
        raise UserError(f"{file}: '{name}' is no list of {count} numbers; {_FIX}")
    return np.array(values, dtype=np.float64)
