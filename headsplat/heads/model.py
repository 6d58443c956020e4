"""Head model (FLAME-like linear model with joints), stored as one `.npz` without pickle.

Head frame: meters, x towards the subject's left, y up, the face looks to +z.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np

from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz, write_npz

JOINTS = ("root", "neck", "jaw", "left_eye", "right_eye")
REQUIRED_REGIONS = (
    "boundary", "face", "lips", "eye_region", "left_eyeball", "right_eyeball", "neck", "scalp",
)  # fmt: skip
CONTOUR_BINS = 79
CONTOUR_POINTS = 17


@dataclass(frozen=True)
class LandmarkSet:
    """Points on the surface: L triangles with barycentric weights.

    Attributes:
        face: (L,) i32, rows of `HeadModel.faces`.
        barycentric: (L, 3) f32, weights of the corners, which sum to 1.
        index: (L,) i32, index of each point in its scheme (MediaPipe 0..477, Multi-PIE 0..67).
        corners: (L, 3) i32, vertex ids of the triangles; `HeadModel` fills it from `faces`.
    """

    face: np.ndarray
    barycentric: np.ndarray
    index: np.ndarray
    corners: np.ndarray | None = None


@dataclass(frozen=True)
class ContourSet:
    """The jaw line Multi-PIE 0..16 as it slides over the cheek with yaw, one row per yaw bin.

    Attributes:
        face: (79, 17) i32; bins as `headsplat.heads.landmarks.contour_bins` numbers them.
        barycentric: (79, 17, 3) f32.
        corners: (79, 17, 3) i32 vertex ids; `HeadModel` fills it from `faces`.
    """

    face: np.ndarray
    barycentric: np.ndarray
    corners: np.ndarray | None = None


@dataclass(frozen=True)
class HeadModel:
    """A linear head with five joints, in numpy. Sizes: V vertices, F triangles, S identity modes.

    Attributes:
        template: (V, 3) f32 meters.
        shape_basis: (V, 3, S) f32, meters per unit coefficient.
        expression_basis: (V, 3, E) f32.
        joint_regressor: (J, V) f32; joints are root, neck, jaw, left eye, right eye.
        parents: (J,) i32, the root's is -1.
        skinning: (V, J) f32, rows sum to 1.
        eyelid_basis: (V, 3, 2) f32, left and right lid, 0 open .. 1 closed, added AFTER skinning.
        faces: (F, 3) i32, counter-clockwise seen from outside.
        uv: (T, 2) f32, u right, v up, in [0, 1].
        uv_faces: (F, 3) i32, rows of `uv`.
        regions: name -> (n,) i32 vertex ids; at least `REQUIRED_REGIONS`.
        landmarks: "mediapipe" and "multipie68" (`LandmarkSet`), "contour" (`ContourSet`).
        shape_std: (S,) f32, prior standard deviations of the coefficients.
        expression_std: (E,) f32.
        expression_range: (E, 2) f32 lowest and highest coefficient, or None if unbounded.
        expression_names: E names, or none.
        pose_basis: (V, 3, P) f32 with P = 9 (J - 1), or None.
        albedo: (V, 3) f32 sRGB in 0..1, or None.
        name: name of the model.
        version: version of the model, stored in every file that depends on it.
        licence: licence of the model, stored likewise.
    """

    template: np.ndarray
    shape_basis: np.ndarray
    expression_basis: np.ndarray
    joint_regressor: np.ndarray
    parents: np.ndarray
    skinning: np.ndarray
    eyelid_basis: np.ndarray
    faces: np.ndarray
    uv: np.ndarray
    uv_faces: np.ndarray
    regions: Mapping[str, np.ndarray]
    landmarks: Mapping[str, LandmarkSet | ContourSet]
    shape_std: np.ndarray
    expression_std: np.ndarray
    name: str
    version: str
    licence: str
    expression_range: np.ndarray | None = None
    expression_names: tuple[str, ...] = field(default=())
    pose_basis: np.ndarray | None = None
    albedo: np.ndarray | None = None

    def __post_init__(self) -> None:
        corners = {
            key: replace(value, corners=self.faces[value.face])
            if value.face.size == 0
            or (value.face.min() >= 0 and value.face.max() < len(self.faces))
            else value
            for key, value in self.landmarks.items()
        }
        object.__setattr__(self, "landmarks", corners)

    def save(self, path: Path | str) -> None:
        """Write `.npz` atomically; an invalid model is a `UserError`, as in `load`."""
        arrays = _flatten(self)
        _validate(arrays, str(path))
        write_npz(path, **arrays)

    @classmethod
    def load(cls, path: Path | str) -> "HeadModel":
        """Read and check every array.

        Raises:
            UserError: the message names file, array and expectation.
        """
        arrays = read_npz(path)
        _validate(arrays, str(path))
        values = {f.name: arrays[f.name] for f in fields(cls) if f.name in arrays}
        for key in ("name", "version", "licence"):
            values[key] = str(values[key])
        values["expression_names"] = tuple(str(n) for n in values["expression_names"])
        values["regions"] = {
            key.split("/")[1]: value for key, value in arrays.items() if key.startswith("regions/")
        }
        landmarks: dict[str, LandmarkSet | ContourSet] = {}
        for key in ("mediapipe", "multipie68"):
            parts = (arrays[f"landmarks/{key}/{p}"] for p in ("face", "barycentric", "index"))
            landmarks[key] = LandmarkSet(*parts)
        parts = (arrays[f"landmarks/contour/{p}"] for p in ("face", "barycentric"))
        landmarks["contour"] = ContourSet(*parts)
        values["landmarks"] = landmarks
        return cls(**values)


def load_head(path: Path | str) -> HeadModel:
    """Read a head model; arguments and errors as in `HeadModel.load`."""
    return HeadModel.load(path)


def _flatten(model: HeadModel) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for item in fields(model):
        value = getattr(model, item.name)
        if value is None or item.name in ("regions", "landmarks"):
            continue
        arrays[item.name] = np.asarray(value, dtype=str if item.name in _STRINGS else None)
    for name, ids in model.regions.items():
        arrays[f"regions/{name}"] = ids
    for name, value in model.landmarks.items():
        for item in fields(value):
            if item.name != "corners":
                arrays[f"landmarks/{name}/{item.name}"] = getattr(value, item.name)
    return arrays


_STRINGS = ("name", "version", "licence", "expression_names")
# One letter is one size: the first array that has the letter fixes it for all that follow.
_SHAPES = {
    "template": "V 3", "faces": "F 3", "uv": "T 2", "uv_faces": "F 3", "skinning": "V J",
    "joint_regressor": "J V", "parents": "J", "shape_basis": "V 3 S", "shape_std": "S",
    "expression_basis": "V 3 E", "expression_std": "E", "eyelid_basis": "V 3 2",
    "landmarks/mediapipe/face": "L", "landmarks/mediapipe/barycentric": "L 3",
    "landmarks/mediapipe/index": "L", "landmarks/multipie68/face": "M",
    "landmarks/multipie68/barycentric": "M 3", "landmarks/multipie68/index": "M",
    "landmarks/contour/face": f"{CONTOUR_BINS} {CONTOUR_POINTS}",
    "landmarks/contour/barycentric": f"{CONTOUR_BINS} {CONTOUR_POINTS} 3",
}  # fmt: skip
_OPTIONAL_SHAPES = {"expression_range": "E 2", "pose_basis": "V 3 P", "albedo": "V 3"}
# Integer arrays and the array whose rows they number.
_INDEXES = {
    "faces": "template", "uv_faces": "uv", "landmarks/mediapipe/face": "faces",
    "landmarks/multipie68/face": "faces", "landmarks/contour/face": "faces",
}  # fmt: skip
_OTHER_INTEGERS = ("parents", "landmarks/mediapipe/index", "landmarks/multipie68/index")


def _validate(arrays: Mapping[str, np.ndarray], origin: str) -> None:
    def fail(key: str, what: str) -> None:
        raise UserError(f"{origin}: head model array '{key}' {what}; rebuild the head model")

    required = [*_SHAPES, *_STRINGS, *(f"regions/{name}" for name in REQUIRED_REGIONS)]
    for key in required:
        if key not in arrays:
            fail(key, "is missing")
    regions = {key: "n" for key in arrays if key.startswith("regions/")}
    indexes = _INDEXES | {key: "template" for key in regions}
    sizes: dict[str, int] = {"J": len(JOINTS)}
    optional = {key: value for key, value in _OPTIONAL_SHAPES.items() if key in arrays}
    for key, pattern in (_SHAPES | optional).items():
        _check_array(arrays[key], key, pattern, sizes, fail)
        kind = "i" if key in indexes or key in _OTHER_INTEGERS else "f"
        if arrays[key].dtype != np.dtype(f"{kind}4"):
            fail(key, f"has type {arrays[key].dtype}, expected {np.dtype(f'{kind}4')}")
        if kind == "f" and not np.isfinite(arrays[key]).all():
            fail(key, "has values that are not finite")
    for key in regions:
        _check_array(arrays[key], key, "n", {}, fail)
    for key, target in indexes.items():
        value, rows = arrays[key], len(arrays[target])
        if value.dtype != np.int32:
            fail(key, f"has type {value.dtype}, expected int32")
        if value.size and (value.min() < 0 or value.max() >= rows):
            fail(key, f"numbers rows of '{target}' outside 0..{rows - 1}")
    if "pose_basis" in arrays and arrays["pose_basis"].shape[2] != 9 * (len(JOINTS) - 1):
        shape = list(arrays["pose_basis"].shape)
        fail("pose_basis", f"has shape {shape}, expected [V, 3, {9 * (len(JOINTS) - 1)}]")
    if arrays["expression_names"].size not in (0, sizes["E"]):
        fail("expression_names", f"has {arrays['expression_names'].size} names for E={sizes['E']}")
    if tuple(arrays["parents"]) != (-1, 0, 1, 1, 1):
        fail("parents", f"is {arrays['parents'].tolist()}, expected [-1, 0, 1, 1, 1] ({JOINTS})")
    for key in ("skinning", "joint_regressor", *(k for k in _SHAPES if k.endswith("/barycentric"))):
        worst = np.abs(arrays[key].sum(-1) - 1).max(initial=0)
        if worst > 1e-3:
            fail(key, f"has rows that sum to 1 +- {worst:.3g}, expected 1")


def _check_array(
    value: np.ndarray, key: str, pattern: str, sizes: dict[str, int], fail: Callable
) -> None:
    tokens = pattern.split()
    expected = [int(t) if t.isdigit() else sizes.get(t, t) for t in tokens]
    if value.ndim != len(tokens) or any(
        isinstance(want, int) and want != have
        for want, have in zip(expected, value.shape, strict=True)
    ):
        shown = ", ".join(t if t.isdigit() or t not in sizes else f"{t}={sizes[t]}" for t in tokens)
        fail(key, f"has shape {list(value.shape)}, expected [{shown}]")
    sizes.update({t: n for t, n in zip(tokens, value.shape, strict=True) if not t.isdigit()})
