"""IMavatar import: projection, both forms of intrinsics, masks, and refusals."""

import json

import numpy as np
import pytest

from headsplat.formats.imavatar.reader import read_imavatar
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

IDS = (1, 2, 3, 7)
INTRINSICS = [-1539.7 / 512, 1508.9 / 512, 261 / 512, 253 / 512]
HEIGHT, WIDTH = 48, 48


def table() -> dict:
    rng = np.random.default_rng(1)
    pose = poses(len(IDS))
    frames = [
        {
            "file_path": f"./image/{k}",
            "world_mat": np.c_[rodrigues(rng.normal(size=3) * 0.1), [0.1, -0.05, -4.2]].tolist(),
            "expression": (rng.normal(size=50) * 0.1).tolist(),
            "pose": pose[row].tolist(),
            "bbox": [-0.4, -0.5, 0.4, 0.5],
            "flame_keypoints": np.zeros((68, 2)).tolist(),
        }
        for row, k in enumerate(IDS)
    ]
    shape = (rng.normal(size=100) * 0.1).tolist()
    return {"frames": frames, "intrinsics": INTRINSICS, "shape_params": shape}


def write(folder, values: dict):
    for k in IDS:
        image(folder / f"image/{k}.png", (HEIGHT, WIDTH))
        image(folder / f"mask/{k}.png", (HEIGHT, WIDTH), 200, "L")
        image(folder / f"semantic/{k}.png", (HEIGHT, WIDTH), 11, "L")
    (folder / "flame_params.json").write_text(json.dumps(values))
    return folder


def tools_pixels(points, world, intrinsics) -> np.ndarray:
    """FLAME times 4, OpenGL camera, image coordinates from -1 to 1, then pixels."""
    fx, fy, cx, cy = (intrinsics[0] * 2, intrinsics[1] * 2, *(2 * v - 1 for v in intrinsics[2:]))
    seen = 4 * points @ np.array(world)[:, :3].T + np.array(world)[:, 3]
    u = seen[:, 0] / seen[:, 2] * fx + cx
    v = seen[:, 1] / seen[:, 2] * fy + cy
    return np.stack([(u + 1) / 2 * WIDTH, (v + 1) / 2 * HEIGHT], 1)


@pytest.mark.parametrize("old", [False, True])
def test_projection_is_imavatars_with_rotation_in_global_and_neck(tmp_path, old):
    head, values = small_flame(), table()
    if old:
        values["intrinsics"] = [512 * v for v in INTRINSICS]
    track = read_imavatar(write(tmp_path, values), options(head)).track
    assert track.ids.tolist() == list(IDS)
    shape, exp = np.zeros(300), np.zeros(100)
    shape[:100] = values["shape_params"]
    for row, frame in enumerate(values["frames"]):
        exp[:50] = frame["expression"]
        points = flame_vertices(head, shape, exp, frame["pose"])
        theirs = tools_pixels(points, frame["world_mat"], INTRINSICS)
        ours = project(track, track_vertices(head, track, row), row)
        assert np.abs(ours - theirs).max() < 1e-6
        assert ((points @ track.R[row].T + track.t[row])[:, 2] > 0).any()
    assert track.K[0, 0] == pytest.approx(1539.7 / 512 * WIDTH)


def test_images_and_masks_are_named(tmp_path):
    found = read_imavatar(write(tmp_path, table()), options())
    assert list(found.images) == list(found.alpha) == list(found.head_mask) == list(IDS)
    assert found.images[7].path == tmp_path / "image/7.png"
    assert found.mouth_mask[7].labels == "bisenet"
    assert found.mouth_mask[7].path == tmp_path / "semantic/7.png"
    assert any("neck" in note for note in found.notes)
    for part in ("mask", "semantic"):
        for k in IDS:
            (tmp_path / part / f"{k}.png").unlink()
        (tmp_path / part).rmdir()
    bare = read_imavatar(tmp_path, options())
    assert not bare.alpha
    assert not bare.head_mask


def first(key, value):
    return lambda v: v["frames"][0].update({key: value})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v["frames"][0].pop("pose"), ("./image/1", "'pose' is missing")),
        (first("pose", [float("nan")] * 15), ("./image/1", "'pose'", "finite")),
        (first("expression", [0.0] * 100), ("'expression'", "[50]", "[100]")),
        (lambda v: v.update(shape_params=[0.0] * 300), ("'shape_params' has 300", "100")),
        (lambda v: v.pop("shape_params"), ("'shape_params' is missing",)),
        (lambda v: v.update(intrinsics=[3.0, 3.0, 0.5, 0.5]), ("'intrinsics'", "-fx/W")),
        (lambda v: v["frames"].append(v["frames"][0]), ("'file_path' ./image/1", "twice")),
        (first("file_path", "./image/9"), ("9.png", "is missing")),
        (first("file_path", "./image/a"), ("'file_path'", "expected './image/<k>'")),
        (first("world_mat", np.ones((3, 4)).tolist()), ("'world_mat'", "no rigid motion")),
        (first("world_mat", "a"), ("'world_mat'", "numbers")),
        (lambda v: v.pop("frames"), ("'frames' is missing",)),
    ],
)
def test_bad_values_name_file_and_key(tmp_path, change, words):
    values = table()
    change(values)
    with pytest.raises(UserError) as caught:
        read_imavatar(write(tmp_path, values), options())
    for word in (*words, str(tmp_path)):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_image_and_another_flame_are_refused(tmp_path):
    write(tmp_path, table())
    (tmp_path / "semantic/3.png").unlink()
    with pytest.raises(UserError, match=r"semantic/3\.png: is missing"):
        read_imavatar(tmp_path, options())
    with pytest.raises(UserError, match="FLAME 2020, the head model is FLAME 2023"):
        read_imavatar(tmp_path, options(small_flame("2023-toy")))
    (tmp_path / "flame_params.json").write_text('{"frames": [')
    with pytest.raises(UserError, match=r"flame_params\.json"):
        read_imavatar(tmp_path, options())
