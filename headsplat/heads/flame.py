"""Import of FLAME (Li et al., Learning a model of facial shape and expression, 2017).

The user provides `generic_model.pkl` (2020 or 2023) under FLAME's own licence, with its side files:
mesh, masks, landmark tables and lid shapes.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headsplat.heads.model import REQUIRED_REGIONS, ContourSet, HeadModel, LandmarkSet
from headsplat.heads.unpickle import ChumpyNode, dense, load_pickle
from headsplat.heads.wavefront import TexturedMesh, read_textured_mesh
from headsplat.runtime.errors import UserError, one_line
from headsplat.runtime.files import read_npz
from headsplat.runtime.fingerprint import file_digest
from headsplat.runtime.npz import read_npy
from headsplat.runtime.zips import BROKEN

_VERTICES, _FACES = 5023, 9976
# Columns of `shapedirs`: 300 of identity, then 100 of expression.
_IDENTITY, _EXPRESSION = 300, 100
_SHAPES = {
    "v_template": (_VERTICES, 3),
    "shapedirs": (_VERTICES, 3, _IDENTITY + _EXPRESSION),
    "posedirs": (_VERTICES, 3, 36),
    "J_regressor": (5, _VERTICES),
    "weights": (_VERTICES, 5),
    "kintree_table": (2, 5),
    "f": (_FACES, 3),
}
# Pupil, then the ring nearest to an iris's edge: towards the subject's left, up, right, down;
# the order of MediaPipe's 468..472 (subject's right eye) and 473..477 (left).
_IRIS_VERTICES = {
    468: (4597, 4543, 4511, 4479, 4575),
    473: (4051, 3997, 3965, 3933, 4029),
}
_LICENCE = "FLAME model licence (Max Planck Society), non-commercial research only"


@dataclass(frozen=True)
class FlameFiles:
    """Paths of the model's files.

    Attributes:
        model: generic_model.pkl.
        mesh: FlameMesh.obj, for UV coordinates and the faces that close the mouth.
        masks: FLAME_masks.pkl.
        landmarks: landmark_embedding.npy (static 51, sliding contour).
        mediapipe: mediapipe_landmark_embedding.npz.
        eyelids: folder with l_eyelid.npy and r_eyelid.npy.
    """

    model: Path
    mesh: Path
    masks: Path
    landmarks: Path
    mediapipe: Path
    eyelids: Path


def import_flame_head(out: Path, *files: Path) -> None:
    """Read the files, check them against one another and save the head model to `out`.

    Args:
        out: head model `.npz` to write.
        files: in the order of `FlameFiles`.

    Raises:
        UserError: names the file, the key and what was expected.
    """
    read_flame_head(FlameFiles(*files)).save(out)


def read_flame_head(files: FlameFiles) -> HeadModel:
    """The head model: 300 identity and 100 expression modes, 10,006 faces, irises included."""
    raw = load_pickle(files.model)
    arrays = _model_arrays(raw, files.model)
    mesh = _matching_mesh(files.mesh, arrays["f"])
    # Only the 2020 release has chumpy nodes; the digest distinguishes files of one year.
    year = "2020" if isinstance(raw["shapedirs"], ChumpyNode) else "2023"
    return HeadModel(
        template=arrays["v_template"],
        shape_basis=arrays["shapedirs"][..., :_IDENTITY].copy(),
        expression_basis=arrays["shapedirs"][..., _IDENTITY:].copy(),
        pose_basis=arrays["posedirs"],
        joint_regressor=arrays["J_regressor"],
        parents=np.array([-1, *arrays["kintree_table"][0, 1:]], np.int32),
        skinning=arrays["weights"],
        eyelid_basis=_eyelids(files.eyelids),
        faces=mesh.faces,
        uv=mesh.uv,
        uv_faces=mesh.uv_faces,
        regions=_regions(files.masks),
        landmarks=_landmarks(files, mesh.faces),
        shape_std=np.ones(_IDENTITY, np.float32),
        expression_std=np.ones(_EXPRESSION, np.float32),
        name="flame",
        version=f"{year}-{file_digest(files.model)[:8]}",
        licence=_LICENCE,
    )


def _model_arrays(raw: Any, path: Path) -> dict[str, np.ndarray]:
    if not isinstance(raw, dict):
        raise UserError(f"{path}: holds no dictionary; expected FLAME's generic_model.pkl")
    arrays = {key: _array(raw, key, shape, path) for key, shape in _SHAPES.items()}
    for key, array in arrays.items():
        # Indices stay integers: the root's parent is an unsigned sentinel beyond int32.
        integers = key in ("f", "kintree_table")
        arrays[key] = array.astype(np.int64 if integers else np.float32)
    return arrays


def _array(table: Any, key: str, shape: tuple[int, ...], path: Path) -> np.ndarray:
    if key not in table:
        raise UserError(f"{path}: the key '{key}' is missing; get the official file")
    try:
        array = dense(table[key])
    except ValueError as error:
        raise UserError(f"{path}: '{key}' {error}; get the official file") from error
    if array.shape != shape:
        raise UserError(
            f"{path}: '{key}' has shape {list(array.shape)}, expected {list(shape)}; "
            "get the official file"
        )
    return array


def _matching_mesh(path: Path, faces: np.ndarray) -> TexturedMesh:
    """The UV mesh; its first faces must equal the model's, because all tables refer to them."""
    mesh = read_textured_mesh(path)
    if len(mesh.vertices) != _VERTICES or not np.array_equal(mesh.faces[:_FACES], faces):
        raise UserError(
            f"{path}: its first {_FACES} faces are not those of the model; use FlameMesh.obj"
        )
    return mesh


def _regions(path: Path) -> dict[str, np.ndarray]:
    masks = load_pickle(path)
    for name in REQUIRED_REGIONS:
        if not isinstance(masks, dict) or name not in masks:
            raise UserError(f"{path}: the region '{name}' is missing; use FLAME_masks.pkl")
    return {_region(name, path): _vertex_ids(ids, name, path) for name, ids in masks.items()}


def _region(name: Any, path: Path) -> str:
    # Regions become names of arrays in the head model's file.
    if type(name) is not str or not re.fullmatch(r"\w{1,60}", name):
        raise UserError(f"{path}: a region has no name; use FLAME_masks.pkl")
    return name


def _vertex_ids(ids: Any, name: str, path: Path) -> np.ndarray:
    try:
        array = np.array(ids) if type(ids) is list else dense(ids)
        if array.size and (array.dtype.kind not in "iu" or not array.max() < _VERTICES):
            raise ValueError("numbers other vertices than the model's")
    except ValueError as error:
        raise UserError(f"{path}: the region '{name}' {error}; use FLAME_masks.pkl") from error
    return array.astype(np.int32).ravel()


def _eyelids(folder: Path) -> np.ndarray:
    lids = []
    for side in "lr":
        path = folder / f"{side}_eyelid.npy"
        try:
            lid = read_npy(path)
        except BROKEN as error:
            reason = one_line(error)
            raise UserError(f"{path}: cannot be read ({reason}); download it again") from error
        if lid.shape != (_VERTICES, 3):
            raise UserError(
                f"{path}: has shape {list(lid.shape)}, expected [{_VERTICES}, 3]; download it again"
            )
        if lid.dtype.kind not in "fiu":
            raise UserError(f"{path}: holds {lid.dtype}, not numbers; download it again")
        lids.append(lid.astype(np.float32))
    return np.stack(lids, -1)


def _landmarks(files: FlameFiles, faces: np.ndarray) -> dict[str, LandmarkSet | ContourSet]:
    table, path = load_pickle(files.landmarks), files.landmarks
    if not isinstance(table, dict):
        raise UserError(f"{path}: holds no dictionary; use landmark_embedding.npy")
    static = LandmarkSet(
        _array(table, "static_lmk_faces_idx", (51,), path).astype(np.int32),
        _array(table, "static_lmk_bary_coords", (51, 3), path).astype(np.float32),
        np.arange(17, 68, dtype=np.int32),
    )
    contour = ContourSet(
        _array(table, "dynamic_lmk_faces_idx", (79, 17), path).astype(np.int32),
        _array(table, "dynamic_lmk_bary_coords", (79, 17, 3), path).astype(np.float32),
    )
    dense_table = read_npz(
        files.mediapipe, ("lmk_face_idx", "lmk_b_coords", "landmark_indices"), "download it again"
    )
    count = dense_table["landmark_indices"].size
    iris_face, iris_weight, iris_index = _irises(faces)
    mediapipe = LandmarkSet(
        np.r_[_array(dense_table, "lmk_face_idx", (count,), files.mediapipe), iris_face].astype(
            np.int32
        ),
        np.r_[_array(dense_table, "lmk_b_coords", (count, 3), files.mediapipe), iris_weight].astype(
            np.float32
        ),
        np.r_[dense_table["landmark_indices"], iris_index].astype(np.int32),
    )
    return {"mediapipe": mediapipe, "multipie68": static, "contour": contour}


def _irises(faces: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Iris vertices as surface points: a face that has the vertex, all weight on that corner."""
    index = [first + k for first in _IRIS_VERTICES for k in range(5)]
    places = [np.argwhere(faces == v)[0] for ring in _IRIS_VERTICES.values() for v in ring]
    face, corner = np.array(places).T
    return face, np.eye(3)[corner], np.array(index)
