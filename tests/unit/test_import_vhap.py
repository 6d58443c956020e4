"""VHAP import: projection with all pose parameters, cameras, tables, and refusals."""

import json
import math

import numpy as np
import pytest

from headsplat.formats.vhap.reader import read_vhap
from headsplat.runtime.errors import UserError

from .foreign_flame import (
    flame_vertices,
    image,
    options,
    poses,
    project,
    rodrigues,
    small_flame,
    track_vertices,
)

STEPS = 4
HEIGHT, WIDTH = 40, 56
NEW = small_flame("2023-toy")


def parameters(step: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(step)
    pose = poses(STEPS)[[step]]
    still = np.random.default_rng(77)
    return {
        "translation": rng.normal(size=(1, 3)) * 0.05,
        "rotation": pose[:, :3],
        "neck_pose": pose[:, 3:6],
        "jaw_pose": pose[:, 6:9],
        "eyes_pose": pose[:, 9:],
        "shape": still.normal(size=300) * 0.05,
        "expr": rng.normal(size=(1, 100)) * 0.1,
        "static_offset": still.normal(size=(1, 43, 3)) * 0.002,
    }


def to_world(camera: int) -> np.ndarray:
    """Camera 0 stands before the head, camera 1 at its side; OpenGL axes."""
    matrix = np.eye(4)
    matrix[:3, :3] = rodrigues([0, 1.2 * camera, 0])
    matrix[:3, 3] = matrix[:3, :3] @ [0.02, -0.01, 1.1]
    return matrix


def table(cameras=(0,)) -> dict:
    intrinsics = {
        "cx": 27.0, "cy": 21.5, "fl_x": 130.0, "fl_y": 128.0, "h": HEIGHT, "w": WIDTH,
        "camera_angle_x": 2 * math.atan(WIDTH / 260), "camera_angle_y": 2 * math.atan(HEIGHT / 256),
    }  # fmt: skip
    frames = [
        {
            "timestep_index": step, "timestep_index_original": 10 + 2 * step,
            "timestep_id": f"{step:05d}", "camera_index": camera, "camera_id": str(camera),
            **intrinsics, "transform_matrix": to_world(camera).tolist(),
            "file_path": f"images/{step:05d}_{camera:02d}.png",
            "fg_mask_path": f"fg_masks/{step:05d}_{camera:02d}.png",
            "flame_param_path": f"flame_param/{step:05d}.npz",
        }
        for step in range(STEPS)
        for camera in cameras
    ]  # fmt: skip
    indices = {"timestep_indices": list(range(STEPS)), "camera_indices": list(cameras)}
    return {"frames": frames, **intrinsics, **indices}


def write(folder, values: dict, name: str = "transforms.json"):
    (folder / "flame_param").mkdir(exist_ok=True)
    for frame in values["frames"]:
        image(folder / frame["file_path"], (HEIGHT, WIDTH))
        image(folder / frame["fg_mask_path"], (HEIGHT, WIDTH), 255, "L")
    for step in range(STEPS):
        np.savez(folder / f"flame_param/{step:05d}.npz", **parameters(step))
    (folder / name).write_text(json.dumps(values))
    return folder


def tools_pixels(points, frame) -> np.ndarray:
    """Inverse of the camera-to-world matrix, OpenGL: y up, the camera looks along -z."""
    view = np.linalg.inv(np.array(frame["transform_matrix"]))
    seen = points @ view[:3, :3].T + view[:3, 3]
    u = frame["cx"] - frame["fl_x"] * seen[:, 0] / seen[:, 2]
    v = frame["cy"] + frame["fl_y"] * seen[:, 1] / seen[:, 2]
    return np.stack([u, v], 1)


def check_projection(found, frames) -> None:
    for row, frame in enumerate(frames):
        raw = parameters(row)
        offset = raw["static_offset"][0, :40]
        pose = np.concatenate(
            [raw[k][0] for k in ("rotation", "neck_pose", "jaw_pose", "eyes_pose")]
        )
        code = (raw["shape"], raw["expr"][0])
        whole = flame_vertices(NEW, *code, pose, raw["translation"], offset)
        # The head model has no offset: what it adds is taken from the tool's vertices, in the
        # pose where it is known, so that the rigid motion alone is compared.
        local = np.concatenate([np.zeros(6), pose[6:]])
        with_offset = flame_vertices(NEW, *code, local, offset=offset)
        ours = project(found.track, with_offset, row)
        assert np.abs(ours - tools_pixels(whole, frame)).max() < 1e-6


def test_projection_is_vhaps_with_every_slot_in_use(tmp_path):
    values = table()
    found = read_vhap(write(tmp_path, values), options(NEW))
    assert found.track.ids.tolist() == [11, 13, 15, 17]
    assert found.track.img_size.tolist() == [HEIGHT, WIDTH]
    check_projection(found, values["frames"])
    assert found.images[13].path == tmp_path / "images/00001_00.png"
    assert found.alpha[13].path == tmp_path / "fg_masks/00001_00.png"
    notes = " | ".join(found.notes)
    assert "'static_offset' (up to" in notes
    assert "neck" in notes


def test_codes_pass_unchanged_without_an_offset(tmp_path):
    values = table()
    write(tmp_path, values)
    for step in range(STEPS):
        arrays = parameters(step)
        del arrays["static_offset"]
        np.savez(tmp_path / f"flame_param/{step:05d}.npz", **arrays)
    found = read_vhap(tmp_path, options(NEW))
    for row, frame in enumerate(values["frames"]):
        raw = parameters(row)
        pose = np.concatenate(
            [raw[k][0] for k in ("rotation", "neck_pose", "jaw_pose", "eyes_pose")]
        )
        points = flame_vertices(NEW, raw["shape"], raw["expr"][0], pose, raw["translation"])
        ours = project(found.track, track_vertices(NEW, found.track, row), row)
        assert np.abs(ours - tools_pixels(points, frame)).max() < 1e-6


def test_the_frontal_camera_is_taken(tmp_path):
    values = table(cameras=(1, 0))
    found = read_vhap(write(tmp_path, values), options(NEW))
    assert found.images[11].path.name == "00000_00.png"
    check_projection(found, [f for f in values["frames"] if f["camera_index"] == 0])
    assert "camera 0 of 2" in " ".join(found.notes)


def test_division_tables_serve_when_the_whole_is_gone(tmp_path):
    values = table()
    for name, part in (("train", values["frames"][:3]), ("test", values["frames"][3:])):
        write(tmp_path, {**values, "frames": part}, f"transforms_{name}.json")
    write(tmp_path, {**values, "frames": []}, "transforms_val.json")
    assert read_vhap(tmp_path, options(NEW)).track.ids.tolist() == [11, 13, 15, 17]


def rewrite(folder, step: int, **values) -> None:
    arrays = {**parameters(step), **values}
    kept = {k: v for k, v in arrays.items() if v is not None}
    np.savez(folder / f"flame_param/{step:05d}.npz", **kept)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rotation": np.full((1, 3), np.nan)}, ("'rotation'", "not finite")),
        ({"rotation": None}, ("'rotation' is missing",)),
        ({"shape": np.zeros(100)}, ("'shape' differs",)),
        ({"expr": np.zeros((1, 50))}, ("'expr' has 50 codes", "100")),
        ({"eyes_pose": np.zeros((1, 3))}, ("'eyes_pose' has shape [1, 3]",)),
    ],
)
def test_bad_arrays_name_file_and_key(tmp_path, values, words):
    write(tmp_path, table())
    rewrite(tmp_path, 2, **values)
    with pytest.raises(UserError) as caught:
        read_vhap(tmp_path, options(NEW))
    for word in (*words, "flame_param/00002.npz"):
        assert word in str(caught.value)


def test_100_shape_codes_and_a_truncated_file_are_refused(tmp_path):
    write(tmp_path, table())
    for step in range(STEPS):
        rewrite(tmp_path, step, shape=np.zeros(100))
    with pytest.raises(UserError, match=r"00000\.npz: 'shape' has 100 codes, this format has 300"):
        read_vhap(tmp_path, options(NEW))
    path = tmp_path / "flame_param/00001.npz"
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(UserError, match=r"00001\.npz cannot be read"):
        read_vhap(tmp_path, options(NEW))


def change_first(**values):
    def change(table):
        table["frames"][0].update(values)

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v["frames"][0].pop("flame_param_path"), ("without 'flame_param_path'",)),
        (lambda v: v["frames"].append(v["frames"][0]), ("'timestep_index' 0", "twice")),
        (change_first(timestep_index="0"), ("'timestep_index' is no index",)),
        (change_first(transform_matrix=[[1.0]]), ("'transform_matrix' is not 4 x 4",)),
        (change_first(transform_matrix=np.ones((4, 4)).tolist()), ("no rigid motion",)),
        (change_first(fl_x=200.0), ("'fl_x' to 'h' change",)),
        (lambda v: (v.pop("cx"), v["frames"][0].pop("cx")), ("'cx' is missing",)),
        (change_first(flame_param_path="flame_param/9.npz"), ("9.npz", "cannot be read")),
        (lambda v: v.update(frames=[]), ("'frames' is empty",)),
    ],
)
def test_bad_tables_name_file_and_key(tmp_path, change, words):
    values = table()
    write(tmp_path, values)
    change(values)
    (tmp_path / "transforms.json").write_text(json.dumps(values))
    with pytest.raises(UserError) as caught:
        read_vhap(tmp_path, options(NEW))
    for word in (*words, str(tmp_path)):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_axes_mixed_versions_and_lost_files_are_refused(tmp_path):
    values = table()
    for frame in values["frames"]:
        turned = np.array(frame["transform_matrix"]) @ np.diag([1, -1, -1, 1])
        frame["transform_matrix"] = turned.tolist()
    write(tmp_path, values)
    with pytest.raises(UserError, match="'transform_matrix' must be camera-to-world"):
        read_vhap(tmp_path, options(NEW))
    write(tmp_path, table())
    with pytest.raises(UserError, match="FLAME 2023, the head model is FLAME 2020"):
        read_vhap(tmp_path, options(small_flame()))
    assert read_vhap(tmp_path, options(small_flame(), flame_version="2020"))
    (tmp_path / "fg_masks/00003_00.png").unlink()
    with pytest.raises(UserError, match=r"00003_00\.png: is missing, 'fg_mask_path'"):
        read_vhap(tmp_path, options(NEW))
    (tmp_path / "transforms.json").unlink()
    with pytest.raises(UserError, match=r"neither transforms\.json"):
        read_vhap(tmp_path, options(NEW))
