"""FLAME's `generic_model.pkl` as the real chumpy writes it, read without chumpy."""

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from headsplat.heads.flame import FlameFiles, read_flame_head
from headsplat.heads.model import REQUIRED_REGIONS
from headsplat.heads.unpickle import dense, load_pickle
from headsplat.runtime.errors import UserError

chumpy = pytest.importorskip(
    "chumpy", reason="needs chumpy: see envs/parity.yaml", exc_type=ImportError
)

VERTICES, FACES, MESH_FACES = 5023, 9976, 10006
RINGS = np.arange(MESH_FACES, dtype=np.uint32)[:, None] + np.arange(3, dtype=np.uint32)


def write(path: Path, value: Any) -> Path:
    path.write_bytes(pickle.dumps(value, protocol=2))
    return path


def official_model(random: np.random.Generator) -> dict[str, Any]:
    """Random numbers under the keys, shapes, types and classes of FLAME 2020's file."""
    skinning = random.random((VERTICES, 5))
    return {
        "v_template": random.normal(size=(VERTICES, 3)),
        "shapedirs": chumpy.array(random.normal(size=(VERTICES, 3, 400))),
        "posedirs": random.normal(size=(VERTICES, 3, 36)),
        "J_regressor": sparse.random(5, VERTICES, 0.01, format="csc", random_state=1),
        "J": random.normal(size=(5, 3)),
        "weights": skinning / skinning.sum(1, keepdims=True),
        "kintree_table": np.array([[2**32 - 1, 0, 1, 1, 1], [0, 1, 2, 3, 4]], np.uint32),
        "f": RINGS[:FACES] % VERTICES,
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


@pytest.fixture(scope="module")
def model() -> dict[str, Any]:
    return official_model(np.random.default_rng(0))


@pytest.fixture(scope="module")
def side_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What goes with the pickle, as far as the importer looks at it."""
    folder = tmp_path_factory.mktemp("flame")
    lines = ["v 0 0 0"] * VERTICES + ["vt 0 0"]
    lines += [f"f {a}/1 {b}/1 {c}/1" for a, b, c in RINGS % VERTICES + 1]
    (folder / "FlameMesh.obj").write_text("\n".join(lines))
    write(folder / "FLAME_masks.pkl", {name: np.arange(9) for name in REQUIRED_REGIONS})
    table = np.empty((), object)
    table[()] = {
        "static_lmk_faces_idx": np.zeros(51, np.int64),
        "static_lmk_bary_coords": np.full((51, 3), 1 / 3),
        "dynamic_lmk_faces_idx": torch.zeros((79, 17), dtype=torch.int64),
        "dynamic_lmk_bary_coords": torch.full((79, 17, 3), 1 / 3),
    }
    np.save(folder / "landmark_embedding.npy", table, allow_pickle=True)
    np.savez(
        folder / "mediapipe_landmark_embedding.npz",
        lmk_face_idx=np.zeros(105, np.int64),
        lmk_b_coords=np.full((105, 3), 1 / 3),
        landmark_indices=np.arange(105),
    )
    for side in "lr":
        np.save(folder / f"{side}_eyelid.npy", np.zeros((VERTICES, 3)))
    return folder


def flame_files(folder: Path, pickled: Path) -> FlameFiles:
    return FlameFiles(
        pickled,
        folder / "FlameMesh.obj",
        folder / "FLAME_masks.pkl",
        folder / "landmark_embedding.npy",
        folder / "mediapipe_landmark_embedding.npz",
        folder,
    )


@pytest.fixture
def no_chumpy(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From the call on, an import of chumpy or of scipy's matrices would fail."""

    def hide() -> None:
        for name in [n for n in sys.modules if n.split(".")[0] in ("chumpy", "scipy")]:
            monkeypatch.setitem(sys.modules, name, None)

    return hide


def test_every_array_of_the_official_layout_is_chumpys_own(model, tmp_path, no_chumpy):
    path = write(tmp_path / "generic_model.pkl", model)
    data = path.read_bytes()
    assert b"cchumpy.ch\nCh\n" in data
    assert b"csc_matrix\n" in data
    theirs = pickle.loads(data, encoding="latin1")
    arrays = {
        key: value.toarray() if sparse.issparse(value) else np.array(value)
        for key, value in theirs.items()
    }
    no_chumpy()

    ours = load_pickle(path)

    assert ours.keys() == arrays.keys()
    assert (ours["bs_style"], ours["bs_type"]) == ("lbs", "lrotmin")
    for key in arrays.keys() - {"bs_style", "bs_type"}:
        array = dense(ours[key])
        assert array.dtype == arrays[key].dtype, key
        np.testing.assert_array_equal(array, arrays[key], err_msg=key)


@pytest.mark.parametrize("part", ["whole", "selected"])
def test_the_importer_reads_nodes_of_arrays(model, side_files, tmp_path, no_chumpy, part):
    node = model["shapedirs"]
    basis = np.array(node)
    if part == "selected":
        node = chumpy.array(np.concatenate([basis[..., ::-1], basis[..., :7]], -1))[..., 399::-1]
        assert type(node).__module__ == "chumpy.reordering"
    path = write(tmp_path / "generic_model.pkl", {**model, "shapedirs": node})
    no_chumpy()

    head = read_flame_head(flame_files(side_files, path))

    assert head.version.startswith("2020-")
    expected = {
        "template": model["v_template"],
        "shape_basis": basis[..., :300],
        "expression_basis": basis[..., 300:],
        "pose_basis": model["posedirs"],
        "joint_regressor": model["J_regressor"].toarray(),
        "skinning": model["weights"],
    }
    for name, array in expected.items():
        np.testing.assert_array_equal(getattr(head, name), array.astype(np.float32), err_msg=name)
    np.testing.assert_array_equal(head.faces[:FACES], model["f"])
    assert head.parents.tolist() == [-1, 0, 1, 1, 1]


def differentiated(node: Any) -> Any:
    """The node after use: values and derivatives are cached, and others know it as a part."""
    assert (2.0 * node[1:]).dr_wrt(node).shape == (node[1:].size, node.size)
    return node


@pytest.mark.parametrize(
    "choose",
    [
        lambda node: node,
        differentiated,
        lambda node: node[:, 1],
        lambda node: node[..., 1:3],
        lambda node: node[1:, ::2][..., -1],
        lambda node: node[[2, 0, 0]],
    ],
)
def test_arrays_and_selections_have_chumpys_values(tmp_path, choose):
    node = choose(chumpy.array(np.random.default_rng(3).normal(size=(3, 5, 4))))
    path = write(tmp_path / "node.pkl", node)
    np.testing.assert_array_equal(dense(load_pickle(path)), np.array(node))


@pytest.mark.parametrize(
    "express",
    [
        lambda node: node * 2.0,
        lambda node: node + node,
        lambda node: node.T,
        lambda node: node.reshape((-1, 3, 400)),
        lambda node: chumpy.concatenate([node, node]),
        # These keep what they act on under the name that an array node keeps its values under.
        chumpy.sin,
        chumpy.negative,
        lambda node: chumpy.sum(node, axis=0),
        lambda node: chumpy.exp(node)[1:],
    ],
)
def test_an_expression_is_refused_by_file_and_key(side_files, tmp_path, express):
    node = express(chumpy.array(np.ones((2, 3, 400))))
    path = write(tmp_path / "generic_model.pkl", {"v_template": np.zeros((VERTICES, 3)),
                                                  "shapedirs": node})  # fmt: skip
    with pytest.raises(UserError) as caught:
        read_flame_head(flame_files(side_files, path))
    message = str(caught.value)
    assert "generic_model.pkl: 'shapedirs' is a chumpy expression" in message
    assert "\n" not in message
