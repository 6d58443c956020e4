"""FLAME import on a synthetic model of FLAME's topology, and refusals."""

import pickle
import runpy
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

import build_head as script
from headsplat.avatar_files import load_avatar
from headsplat.heads.flame import FlameFiles, import_flame_head, read_flame_head
from headsplat.heads.landmarks import points
from headsplat.heads.model import HeadModel
from headsplat.heads.registry import HEADS
from headsplat.heads.skinning import HeadGeometry
from headsplat.runtime.errors import UserError
from headsplat.track import load_track
from tests.unit.driven import make_subject


@pytest.fixture(scope="module")
def standin(shared):
    """The function and the table that make a `generic_model.pkl` of FLAME's layout."""
    folder = shared / "assets/flame_standin"
    return runpy.run_path(str(folder / "make_generic_model.py")), folder / "flame_standin.npz"


@pytest.fixture(scope="module")
def files(shared, standin, tmp_path_factory) -> FlameFiles:
    module, table = standin
    path = tmp_path_factory.mktemp("flame") / "generic_model.pkl"
    saved = dict(sys.modules)
    try:
        path.write_bytes(pickle.dumps(module["build"](table), protocol=2))
    finally:
        for name in set(sys.modules) - set(saved):
            if name.startswith("chumpy"):
                del sys.modules[name]
    public = shared / "assets/flame_public"
    return FlameFiles(
        path,
        public / "FlameMesh.obj",
        public / "FLAME_masks.pkl",
        public / "landmark_embedding.npy",
        public / "mediapipe_landmark_embedding.npz",
        public / "blendshapes",
    )


@pytest.fixture(scope="module")
def head(files, tmp_path_factory) -> HeadModel:
    out = tmp_path_factory.mktemp("head") / "flame.npz"
    import_flame_head(out, *vars(files).values())
    return HeadModel.load(out)


def test_an_avatar_names_the_users_file_and_holds_no_copy(files, tmp_path):
    flame = tmp_path / "flame.npz"
    import_flame_head(flame, *vars(files).values())
    folder = tmp_path / "results/model"
    make_subject(folder, tmp_path / "own.npz", tmp_path / "track.npz", HeadModel.load(flame))
    assert not (folder / "head.npz").exists()
    track = load_track(folder)
    assert load_avatar(folder, device="cpu").render(track[0]).min() < 0.9
    (tmp_path / "own.npz").unlink()
    with pytest.raises(UserError, match=r"needs the head model flame .*own\.npz is not there"):
        load_avatar(folder, device="cpu")
    assert load_avatar(folder, flame, "cpu").head.name == "flame"


def test_sizes_topology_and_joints(head):
    assert head.template.shape == (5023, 3)
    assert head.shape_basis.shape == (5023, 3, 300)
    assert head.expression_basis.shape == (5023, 3, 100)
    assert head.pose_basis.shape == (5023, 3, 36)
    assert head.faces.shape == head.uv_faces.shape == (10006, 3)
    assert head.uv.shape == (5150, 2)
    assert head.parents.tolist() == [-1, 0, 1, 1, 1]
    assert head.version.startswith("2020-")
    assert head.name == "flame"
    for joint, name in ((3, "left_eyeball"), (4, "right_eyeball")):
        assert (head.skinning[head.regions[name]].argmax(1) == joint).all()
    assert head.template[head.regions["left_eyeball"], 0].mean() > 0.02
    assert {k: len(head.regions[k]) for k in ("boundary", "face", "lips", "neck")} == {
        "boundary": 114, "face": 1787, "lips": 254, "neck": 253,
    }  # fmt: skip


def test_values_are_those_of_the_pickle(head, standin):
    table = np.load(standin[1])
    np.testing.assert_allclose(head.template, table["v_template"], atol=1e-7)
    np.testing.assert_allclose(head.shape_basis[..., :100], table["shapedirs100"], atol=1e-7)
    np.testing.assert_allclose(head.expression_basis[..., :53], table["exprdirs53"], atol=1e-7)
    regressor = table["J_regressor"] / table["J_regressor"].sum(1, keepdims=True)
    np.testing.assert_allclose(head.joint_regressor, regressor, atol=1e-6)


def test_landmark_positions(head):
    template = torch.from_numpy(head.template)[None]
    dense = points(template, head.landmarks["mediapipe"])[0].numpy()
    at = {int(k): dense[i] for i, k in enumerate(head.landmarks["mediapipe"].index)}
    assert len(at) == 115
    assert at[468][0] < 0 < at[473][0]
    for first, name in ((468, "right_eyeball"), (473, "left_eyeball")):
        center = at[first]
        ring = np.array([at[first + k] - center for k in range(1, 5)])
        assert np.linalg.norm(ring, axis=1) == pytest.approx(0.0058, abs=0.0006)
        assert (ring[[0, 1], [0, 1]] > 0.004).all()
        assert (ring[[2, 3], [0, 1]] < -0.004).all()
        assert center[2] > head.template[head.regions[name], 2].max() - 0.002
    static = points(template, head.landmarks["multipie68"])[0].numpy()
    assert head.landmarks["multipie68"].index.tolist() == list(range(17, 68))
    inner_lips = static[head.landmarks["multipie68"].index >= 60]
    lips = head.template[head.regions["lips"]]
    assert (inner_lips.min(0) >= lips.min(0) - 1e-4).all()
    assert head.template[head.landmarks["contour"].corners[0, 0]][:, 0].max() < 0


def test_jaw_opens_and_lids_close(head):
    geometry = HeadGeometry(head)
    eye = torch.eye(3)
    angle = torch.tensor(0.3)
    jaw = torch.tensor([[1, 0, 0], [0, angle.cos(), -angle.sin()], [0, angle.sin(), angle.cos()]])
    zeros = torch.zeros(2, 100)
    vertices = geometry.vertices(
        torch.zeros(300), zeros, torch.stack([eye, jaw]), eye.expand(2, 2, 3, 3), torch.zeros(2, 2)
    )
    lips = points(vertices, head.landmarks["mediapipe"])
    index = head.landmarks["mediapipe"].index.tolist()
    gap = (lips[:, index.index(13)] - lips[:, index.index(14)]).norm(dim=-1)
    assert gap[1] > gap[0] + 0.015
    assert np.linalg.norm(head.eyelid_basis, axis=1).max() > 0.005


def test_uv_covers_the_closed_mouth(head):
    assert head.uv.min() >= 0
    assert head.uv.max() <= 1
    corners = head.uv[head.uv_faces]
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = np.abs(first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0])
    # The 30 closing faces have a place of their own; these two of the strip have no area.
    assert (area[9976:] > 1e-7).all()
    assert (area[[3305, 8197]] < 1e-8).all()


def test_2023_style_pickles_of_plain_arrays(files, standin, tmp_path):
    module, table = standin
    content = module["build"](table, chumpy=False)
    content["shapedirs"] = content["shapedirs"][:, :, :400]
    content["J_regressor"] = content["J_regressor"].toarray()
    path = tmp_path / "flame2023.pkl"
    path.write_bytes(pickle.dumps(content, protocol=2))
    head = read_flame_head(replace(files, model=path))
    assert head.version.startswith("2023-")
    assert head.version != read_flame_head(files).version


def test_bad_files_end_in_one_line(files, standin, tmp_path):
    module, table = standin
    content = module["build"](table, chumpy=False)
    model = tmp_path / "generic_model.pkl"

    def refused(match: str, **paths) -> None:
        with pytest.raises(UserError, match=match) as caught:
            import_flame_head(tmp_path / "out.npz", *vars(replace(files, **paths)).values())
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out.npz").exists()

    def model_with(**changes) -> None:
        changed = {k: v for k, v in (content | changes).items() if v is not None}
        model.write_bytes(pickle.dumps(changed, protocol=2))

    model_with(posedirs=None)
    refused(r"generic_model\.pkl: the key 'posedirs' is missing", model=model)
    model_with(weights=content["weights"][:, :4])
    refused(r"'weights' has shape \[5023, 4\], expected \[5023, 5\]", model=model)
    model_with(v_template="text")
    refused("'v_template' holds str", model=model)
    model_with(f=content["f"][::-1])
    refused(r"FlameMesh\.obj: its first 9976 faces", model=model)
    model.write_bytes(files.model.read_bytes()[:100_000])
    refused("not a complete pickle", model=model)
    model.write_text("hello")
    refused(r"generic_model\.pkl", model=model)
    refused("cannot be read", model=tmp_path / "nosuch.pkl")
    refused("not a triangle mesh", mesh=files.masks)
    refused("the region 'boundary' is missing", masks=files.landmarks)
    refused("'static_lmk_faces_idx' is missing", landmarks=files.masks)
    refused("lmk_face_idx|cannot be read", mediapipe=files.landmarks)
    refused(r"l_eyelid\.npy: cannot be read", eyelids=tmp_path)
    shutil.copy(files.eyelids / "l_eyelid.npy", tmp_path / "l_eyelid.npy")
    np.save(tmp_path / "r_eyelid.npy", np.zeros((5, 3)))
    refused(r"r_eyelid\.npy: has shape \[5, 3\]", eyelids=tmp_path)


def test_script_writes_the_model(files, tmp_path):
    out = tmp_path / "flame.npz"
    entry = HEADS["flame"]
    paths = zip(entry.assets, vars(files).values(), strict=True)
    flags = [f"--file={key}={path}" for key, path in paths]
    script.main(["--head=flame", *flags, f"--out={out}"])
    assert HeadModel.load(out).name == "flame"
