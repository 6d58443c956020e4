"""`.frame` files: bytes, camera, and refusals."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from headsplat.formats.frame import frame_dict, opencv_camera, p3d_camera, read_frame, write_frame
from headsplat.rotations import matrix_from_axis_angle
from headsplat.runtime.errors import UserError

EXPECTED = {
    "flame": {
        "exp": (1, 100), "shape": (1, 300), "tex": (1, 140), "sh": (1, 9, 3), "eyes": (1, 12),
        "eyelids": (1, 2), "jaw": (1, 6),
    },
    "camera": {"R": (1, 6), "t": (1, 3), "fl": (1, 1), "pp": (1, 2)},
    "opencv": {"R": (1, 3, 3), "t": (1, 3), "K": (1, 3, 3)},
}  # fmt: skip


def some_frame(index: int = 7) -> dict:
    rng = np.random.default_rng(index)
    turn = torch.tensor([[0.2, -0.4, 0.1]], dtype=torch.float64)
    rotation = np.diag([1.0, -1.0, -1.0]) @ matrix_from_axis_angle(turn)[0].numpy()
    camera = np.array([[1200.0, 0, 250.0], [0, 1200.0, 262.0], [0, 0, 1]])
    return frame_dict(
        index, rng.normal(size=100), rng.normal(size=53), rng.normal(size=6),
        rng.normal(size=12), rng.random(2), rotation, np.array([0.01, 0.02, 0.9]), camera,
        (512, 512),
    )  # fmt: skip


def test_layout_is_metrical_trackers(tmp_path):
    frame = some_frame()
    write_frame(tmp_path / "00007.frame", frame)
    loaded = torch.load(tmp_path / "00007.frame", weights_only=False)
    assert set(loaded) == {*EXPECTED, "img_size", "frame_id", "global_step"}
    for block, members in EXPECTED.items():
        assert {k: v.shape for k, v in loaded[block].items()} == members
        assert all(type(v) is np.ndarray and v.dtype == np.float32 for v in loaded[block].values())
    assert loaded["img_size"].dtype == np.int64
    assert loaded["img_size"].tolist() == [512, 512]
    assert loaded["frame_id"] == "00007"
    assert type(loaded["global_step"]) is int
    assert not loaded["flame"]["exp"][0, 53:].any()
    assert not loaded["flame"]["shape"][0, 100:].any()


def test_pickle_names_are_those_of_numpy_1(tmp_path):
    write_frame(tmp_path / "a.frame", some_frame())
    with zipfile.ZipFile(tmp_path / "a.frame") as archive:
        (name,) = [n for n in archive.namelist() if n.endswith("data.pkl")]
        data = archive.read(name)
    assert b"numpy._core" not in data
    assert b"cnumpy.core.multiarray\n_reconstruct\n" in data


def test_round_trip(tmp_path):
    frame = some_frame()
    write_frame(tmp_path / "a.frame", frame)
    loaded = read_frame(tmp_path / "a.frame")
    for block in EXPECTED:
        for key, value in frame[block].items():
            np.testing.assert_array_equal(loaded[block][key], value)


def test_reader_takes_plain_torch_save(tmp_path):
    torch.save(some_frame(), tmp_path / "a.frame")
    assert read_frame(tmp_path / "a.frame")["frame_id"] == "00007"


@pytest.mark.parametrize("size", [(512, 512), (540, 960), (960, 540)])
def test_p3d_camera_round_trip_and_projection(size):
    height, width = size
    rng = np.random.default_rng(0)
    vector = torch.as_tensor(rng.normal(size=(1, 3)))
    rotation = matrix_from_axis_angle(vector)[0].numpy()
    translation = np.array([0.03, -0.02, 0.8])
    matrix = np.array([[1500.0, 0, width / 2 + 17], [0, 1500.0, height / 2 - 9], [0, 0, 1]])
    camera = p3d_camera(rotation, translation, matrix, size)
    back = opencv_camera(camera, size)
    np.testing.assert_allclose(back[0], rotation, atol=1e-6)
    np.testing.assert_allclose(back[1], translation, atol=1e-7)
    np.testing.assert_allclose(back[2], matrix, rtol=1e-6)
    # PyTorch3D's own formula: row vectors, +x left, +y up, NDC of the short side.
    point = np.array([0.05, 0.02, -0.04])
    first, second = camera["R"].reshape(2, 3).astype(np.float64)
    rows = np.stack([first, second, np.cross(first, second)])
    view = point @ rows + camera["t"][0]
    half = min(size) / 2
    ndc = camera["fl"][0, 0] * view[:2] / view[2] + camera["pp"][0]
    screen = np.array([width, height]) / 2 - half * ndc
    seen = matrix @ (rotation @ point + translation)
    np.testing.assert_allclose(screen, seen[:2] / seen[2], atol=2e-3)


def test_start_camera_is_metrical_trackers():
    camera = p3d_camera(
        np.diag([1.0, -1, -1]), np.array([0.0, 0, 1]), np.diag([2500.0, 2500, 1]), (512, 512)
    )
    np.testing.assert_array_equal(camera["R"], [[-1, 0, 0, 0, 1, 0]])
    np.testing.assert_allclose(camera["t"], [[0, 0, 1]])
    np.testing.assert_allclose(camera["fl"], [[5000 / 512]], rtol=1e-6)


def test_too_many_coefficients_are_refused():
    arguments = [np.zeros(100), np.zeros(101), np.zeros(6), np.zeros(12), np.zeros(2)]
    with pytest.raises(UserError, match="101 expression"):
        frame_dict(0, *arguments, np.eye(3), np.ones(3), np.eye(3), (512, 512))


class _Shell:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_foreign_code_is_not_run(tmp_path):
    frame = some_frame()
    frame["flame"]["exp"] = _Shell(tmp_path / "ran")
    with zipfile.ZipFile(tmp_path / "a.frame", "w") as archive:
        archive.writestr("a/data.pkl", pickle.dumps(frame, protocol=2))
    with pytest.raises(UserError, match=r"a\.frame: refused"):
        read_frame(tmp_path / "a.frame")
    assert not (tmp_path / "ran").exists()


def test_bad_files_are_named(tmp_path):
    (tmp_path / "a.frame").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"a\.frame"):
        read_frame(tmp_path / "a.frame")
    frame = some_frame()
    del frame["opencv"]["K"]
    torch.save(frame, tmp_path / "b.frame")
    with pytest.raises(UserError, match=r"opencv\.K"):
        read_frame(tmp_path / "b.frame")
    frame = some_frame()
    frame["flame"]["jaw"] = np.zeros((1, 3), np.float32)
    torch.save(frame, tmp_path / "c.frame")
    with pytest.raises(UserError, match=r"flame\.jaw.*\[1, 3\]"):
        read_frame(tmp_path / "c.frame")
    buffer = io.BytesIO()
    torch.save({"flame": torch.zeros(3)}, buffer)
    (tmp_path / "d.frame").write_bytes(buffer.getvalue())
    with pytest.raises(UserError, match=r"d\.frame: refused"):
        read_frame(tmp_path / "d.frame")
