"""Round trips of exports: VHAP, IMavatar, FLAME tables and ARKit."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import export_arkit
import export_flame_parameters
import export_imavatar
import export_vhap
from headsplat.drive.arkit_motion import arkit_codes
from headsplat.formats.arkit.writer import BLENDSHAPES, ROTATIONS, blendshapes
from headsplat.formats.flame import (
    pose_from_rigid,
    rigid_from_pose,
    root_and_neck_joints,
    six_from_axis_angle,
    truncation_error_mm,
)
from headsplat.formats.imavatar.reader import read_imavatar
from headsplat.formats.imavatar.writer import parameters
from headsplat.formats.importing.clip import make_track
from headsplat.formats.vhap.reader import opencv_camera, read_vhap
from headsplat.formats.vhap.writer import centering_margin, flame_parameters, transforms
from headsplat.frames.images import encode_jpeg, encode_png
from headsplat.frames.packs import FrameZipWriter
from headsplat.heads.ict import parts
from headsplat.masks.labels import BISENET, masks_from_labels
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish, write_json
from headsplat.synthetic.head.head import procedural_head
from headsplat.track import camera_moves, write_track

from .foreign_flame import (
    HEAD_VERTICES,
    flame_vertices,
    options,
    poses,
    project,
    rodrigues,
    small_flame,
    track_vertices,
)

IDS = np.array([1, 2, 3, 5, 6])
SIZE = 48


def track_of(head, S: int = 300, E: int = 100, center=(25.0, 22.0)):
    """A track in float64; codes beyond `S` and `E` are zero."""
    rng = np.random.default_rng(6)
    count, pose = len(IDS), poses(len(IDS))
    shape, exp = np.zeros(300), np.zeros((count, 100))
    shape[:S], exp[:, :E] = rng.normal(size=S) * 0.05, rng.normal(size=(count, E)) * 0.1
    turns = [np.diag([1.0, -1, -1]) @ rodrigues(v) for v in pose[:, :3]]
    K = np.array([[120.0, 0, center[0]], [0, 120, center[1]], [0, 0, 1]])
    t = np.array([0.0, 0, 1]) + rng.normal(size=(count, 3)) * 0.03
    return make_track(
        head, IDS, shape, exp, six_from_axis_angle(pose[:, 6:9]), six_from_axis_angle(pose[:, 9:]),
        rng.random((count, 2)), np.stack(turns), t, K, (SIZE, SIZE),
    )  # fmt: skip


def disk(radius: float) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    return np.where(np.hypot(x - 24, y - 24) < radius, 255, 0).astype(np.uint8)


def write_inputs(folder, track, head) -> list[str]:
    write_track(folder / "track.npz", track)
    head.save(folder / "head.npz")
    rng = np.random.default_rng(0)
    packs = {"frames": ".jpg", "alpha": ".png", "parsing": ".png"}
    flags = ["--track", str(folder / "track.npz"), "--head", str(folder / "head.npz")]
    for name, suffix in packs.items():
        path = folder / f"{name}.zip"
        with publish(path) as temporary, FrameZipWriter(temporary, suffix) as pack:
            for i in track.ids.tolist():
                if name == "frames":
                    pack.add(i, encode_jpeg(rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)))
                elif name == "alpha":
                    pack.add(i, encode_png(disk(20)))
                else:
                    pack.add(i, encode_png(disk(14)), role="_neckhead")
                    pack.add(i, encode_png(disk(4)), role="_mouth")
        flags += [f"--{name}", str(path)]
    return flags


def same_track(found, track, atol: float) -> None:
    for name in ("shape", "exp", "jaw", "eyes", "eyelids", "R", "t"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(track, name), atol=atol, err_msg=name
        )
    np.testing.assert_array_equal(found.ids, track.ids)


@pytest.mark.parametrize("year", ["2020", "2023"])
def test_imavatar_round_trip(tmp_path, year):
    head = small_flame(f"{year}-toy")
    track = track_of(head, 100, 50)
    export_imavatar.main([*write_inputs(tmp_path, track, head), "--out", str(tmp_path / "out")])
    found = read_imavatar(tmp_path / "out", options(head))
    same_track(found.track, track, 1e-6)
    np.testing.assert_allclose(found.track.K, track.K, atol=1e-5)
    assert list(found.images) == IDS.tolist()
    labels = np.asarray(Image.open(found.head_mask[5].path))
    neckhead, mouth = masks_from_labels(labels, BISENET)
    np.testing.assert_array_equal(neckhead, disk(14))
    np.testing.assert_array_equal(mouth, disk(4))
    np.testing.assert_array_equal(np.asarray(Image.open(found.alpha[5].path)), disk(20))
    assert Image.open(found.images[5].path).mode == "RGB"


def test_imavatar_is_exact_in_float64_and_projects_as_the_tool_does(tmp_path):
    head = small_flame()
    track = track_of(head, 100, 50)
    values = json.loads(json.dumps(parameters(track, head)))
    for row, frame in enumerate(values["frames"]):
        world = np.array(frame["world_mat"])
        shape, exp = np.zeros(300), np.zeros(100)
        shape[:100], exp[:50] = values["shape_params"], frame["expression"]
        seen = 4 * flame_vertices(head, shape, exp, frame["pose"]) @ world[:, :3].T + world[:, 3]
        fx, fy, cx, cy = values["intrinsics"]
        theirs = SIZE * np.stack(
            [fx * seen[:, 0] / seen[:, 2] + cx, fy * seen[:, 1] / seen[:, 2] + cy], 1
        )
        ours = project(track, track_vertices(head, track, row), row)
        np.testing.assert_allclose(theirs, ours, atol=1e-6)
        box, points = np.array(frame["bbox"]), np.array(frame["flame_keypoints"])
        assert points.shape == (68, 2)
        np.testing.assert_allclose(box, [*points.min(0), *points.max(0)])


def test_truncated_codes_are_measured():
    head = small_flame()
    assert truncation_error_mm(head, track_of(head, 100, 50), 100, 50) == 0
    track = track_of(head)
    whole = head.shape_basis.astype(float) @ track.shape
    kept = head.shape_basis[..., :100].astype(float) @ track.shape[:100]
    lost = 0
    for exp in track.exp:
        away = whole - kept + head.expression_basis[..., 50:].astype(float) @ exp[50:]
        lost = max(lost, np.linalg.norm(away, axis=1).max())
    assert truncation_error_mm(head, track, 100, 50) == pytest.approx(1000 * lost, rel=1e-5)


def export_to_vhap(folder, track, head, test=(6,)):
    flags = write_inputs(folder, track, head)
    train = [int(i) for i in track.ids if i not in test]
    write_json(folder / "split.json", {"mode": "last", "train": train, "test": list(test)})
    export_vhap.main([*flags, "--split", str(folder / "split.json"), "--out", str(folder / "out")])
    return folder / "out"


@pytest.mark.parametrize("year", ["2020", "2023"])
def test_vhap_round_trip(tmp_path, year):
    head = small_flame(f"{year}-toy")
    track = track_of(head, center=(24.0, 24.0))
    found = read_vhap(export_to_vhap(tmp_path, track, head), options(head))
    same_track(found.track, track, 1e-6)
    np.testing.assert_allclose(found.track.K, track.K, atol=1e-5)
    assert found.track.img_size.tolist() == [SIZE, SIZE]
    image = np.asarray(Image.open(found.images[5].path))
    assert (image[disk(14) == 0] == 255).all()
    assert (image[disk(14) == 255] < 255).any()
    np.testing.assert_array_equal(np.asarray(Image.open(found.alpha[5].path)), disk(14))


def test_vhap_is_exact_in_float64():
    head = small_flame()
    track = track_of(head)
    root, neck = root_and_neck_joints(head, track.shape, track.exp)
    rotation, translation = pose_from_rigid(track.head_R, track.head_t, root)
    motion = rigid_from_pose(rotation, np.zeros_like(rotation), translation, root, neck)
    table = transforms(track, IDS, (0, 0, 0, 0))
    matrix = np.array([frame["transform_matrix"] for frame in table["frames"]])
    R, t = camera_moves(*motion, *opencv_camera(matrix))
    np.testing.assert_allclose(R, track.R, atol=1e-12)
    np.testing.assert_allclose(t, track.t, atol=1e-12)


def test_vhap_layout_projects_as_gaussian_avatars_does(tmp_path):
    """It takes the field of view across and the middle of the image, nothing else."""
    head = small_flame("2023-toy")
    track = track_of(head, center=(29.0, 20.0))
    folder = export_to_vhap(tmp_path, track, head)
    frames = []
    for name, count in (("train", 4), ("val", 0), ("test", 1)):
        table = json.loads((folder / f"transforms_{name}.json").read_text())
        assert len(table["frames"]) == len(table["timestep_indices"]) == count
        frames += table["frames"]
    assert [frame["timestep_index"] for frame in frames] == list(range(5))
    for row, frame in enumerate(frames):
        with np.load(folder / frame["flame_param_path"]) as archive:
            raw = {key: archive[key] for key in archive.files}
        assert all(value.dtype == np.float32 for value in raw.values())
        assert raw["static_offset"].shape == (1, 5143, 3)
        pose = [raw[k][0] for k in ("rotation", "neck_pose", "jaw_pose", "eyes_pose")]
        points = flame_vertices(
            head, raw["shape"], raw["expr"][0], np.concatenate(pose), raw["translation"]
        )
        camera = np.array(frame["transform_matrix"])
        camera[:3, 1:3] *= -1
        view = np.linalg.inv(camera)
        seen = points @ view[:3, :3].T + view[:3, 3]
        size = np.array(Image.open(folder / frame["file_path"]).size)
        assert size.tolist() == [frame["w"], frame["h"]] == [58, 56]
        focal = size[0] / (2 * np.tan(frame["camera_angle_x"] / 2))
        theirs = focal * seen[:, :2] / seen[:, 2:] + size / 2
        margin = np.array(centering_margin(track.K, SIZE, SIZE)[:2])
        ours = project(track, track_vertices(head, track, row), row) + margin
        np.testing.assert_allclose(theirs, ours, atol=1e-2)
    canonical = np.load(folder / "canonical_flame_param.npz")
    assert canonical["jaw_pose"][0].tolist() == pytest.approx([0.3, 0, 0])
    assert not canonical["expr"].any()


def test_the_margin_centers_within_a_quarter_pixel():
    for cx, cy in ((24, 24), (20.3, 29.9), (24.2, 23.8)):
        left, top, right, bottom = centering_margin(
            np.array([[9, 0, cx], [0, 9, cy], [0, 0, 1]]), SIZE, SIZE
        )
        assert abs(cx + left - (SIZE + left + right) / 2) <= 0.25
        assert abs(cy + top - (SIZE + top + bottom) / 2) <= 0.25
        assert 0 in (left, right)
        assert 0 in (top, bottom)


def test_frames_that_neither_train_nor_test_are_left_out_and_gaps_stay(tmp_path):
    head = small_flame()
    track = track_of(head)
    flags = write_inputs(tmp_path, track, head)
    write_json(
        tmp_path / "split.json", {"mode": "last", "train": [2, 3], "test": [6], "guard": [5]}
    )
    out = tmp_path / "out"
    export_vhap.main([*flags, "--split", str(tmp_path / "split.json"), "--out", str(out)])
    assert read_vhap(out, options(head)).track.ids.tolist() == [2, 3, 6]
    table = json.loads((out / "transforms.json").read_text())
    assert table["timestep_indices"] == [0, 1, 2]


def test_flame_tables_hold_every_frame(tmp_path):
    head = small_flame()
    track = track_of(head)
    flags = write_inputs(tmp_path, track, head)[:4]
    out = tmp_path / "out"
    export_flame_parameters.main([*flags, "--out", str(out)])
    with (out / "frames.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert [int(row["id"]) for row in rows] == IDS.tolist()
    assert float(rows[3]["time"]) == pytest.approx(4 / 25)
    for row, table in enumerate(rows):
        with np.load(out / f"{IDS[row]:05d}.npz") as archive:
            frame = {key: archive[key] for key in archive.files}
        np.testing.assert_allclose(frame["exp"], track.exp[row], atol=1e-6)
        np.testing.assert_allclose(rodrigues(frame["rotation"]), track.R[row], atol=1e-6)
        np.testing.assert_allclose(frame["R"], track.R[row], atol=1e-6)
        found = [float(table[f"jaw_pose_{k:03d}"]) for k in range(3)]
        np.testing.assert_allclose(found, frame["jaw_pose"], atol=1e-6)
        np.testing.assert_allclose(
            six_from_axis_angle(frame["jaw_pose"][None])[0], track.jaw[row], atol=1e-6
        )
        assert float(table["t_002"]) == pytest.approx(track.t[row, 2], abs=1e-6)
    shape = np.loadtxt(out / "shape.csv", delimiter=",", skiprows=1, usecols=1)
    np.testing.assert_allclose(shape, track.shape, atol=1e-7)


@pytest.mark.parametrize("script", [export_vhap, export_imavatar, export_flame_parameters])
def test_another_head_is_refused(tmp_path, script):
    head = replace(small_flame(), name="ict")
    flags = write_inputs(tmp_path, track_of(head), head)
    write_json(tmp_path / "split.json", {"mode": "last", "train": [1], "test": [2]})
    if script is export_vhap:
        flags += ["--split", str(tmp_path / "split.json")]
    if script is export_flame_parameters:
        flags = flags[:4]
    with pytest.raises(UserError, match="the subject's head is 'ict'"):
        script.main([*flags, "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def ict_track(head, turn=(0.0, 0, 0), jaw=0.0, gaze=(0.0, 0), **codes):
    exp = np.zeros((1, len(parts.EXPRESSIONS)))
    for name, value in codes.items():
        exp[0, parts.EXPRESSIONS.index(name)] = value
    eye = [gaze[0], gaze[1], 0]
    return make_track(
        head, np.array([51]), np.zeros(300), exp, six_from_axis_angle(np.array([[jaw, 0, 0]])),
        six_from_axis_angle(np.array([eye * 2])), np.array([[0.2, 0.9]]),
        np.diag([1.0, -1, -1])[None] @ rodrigues(turn), np.array([[0, 0, 1.0]]), np.eye(3), (8, 8),
    )  # fmt: skip


@pytest.fixture
def ict():
    head = small_flame()
    count = len(parts.EXPRESSIONS)
    return replace(
        head, name="ict", expression_basis=head.expression_basis[..., :count],
        expression_std=head.expression_std[:count], expression_names=parts.EXPRESSIONS,
    )  # fmt: skip


def test_arkit_table_is_live_link_faces(tmp_path, ict):
    write_track(
        tmp_path / "track.npz",
        ict_track(ict, (0.1, 0.2, -0.05), np.deg2rad(25.3) / 2, (-0.1, 0.15), mouthSmile_L=0.7,
                  browInnerUp_L=0.4, browInnerUp_R=0.2, cheekPuff_R=0.5),
    )  # fmt: skip
    ict.save(tmp_path / "head.npz")
    export_arkit.main(
        ["--track", str(tmp_path / "track.npz"), "--head", str(tmp_path / "head.npz"),
         "--out", str(tmp_path / "a.csv")]
    )  # fmt: skip
    with (tmp_path / "a.csv").open() as handle:
        (row,) = csv.DictReader(handle)
    assert len(row) == 2 + 52 + 9
    assert row["Timecode"] == "00:00:02:00.000"
    assert row["BlendShapeCount"] == "61"
    expected = {
        "JawOpen": 0.5, "EyeBlinkLeft": 0.2, "EyeBlinkRight": 0.9, "MouthSmileLeft": 0.7,
        "BrowInnerUp": 0.3, "CheekPuff": 0.25, "TongueOut": 0,
        # Gaze up and to the subject's left: the left eye looks out, the right one in.
        "EyeLookUpLeft": 0.1 / np.deg2rad(30), "EyeLookDownLeft": 0,
        "EyeLookOutLeft": 0.15 / np.deg2rad(30), "EyeLookInRight": 0.15 / np.deg2rad(30),
        "EyeLookInLeft": 0, "EyeLookOutRight": 0, "LeftEyeYaw": 0.15, "RightEyePitch": -0.1,
    }  # fmt: skip
    for name, value in expected.items():
        # A gaze about two axes turns about a third by a little.
        assert float(row[name]) == pytest.approx(value, abs=5e-3), name
    yaw, pitch, roll = (float(row[f"Head{name}"]) for name in ("Yaw", "Pitch", "Roll"))
    turn = rodrigues((0, yaw, 0)) @ rodrigues((pitch, 0, 0)) @ rodrigues((0, 0, roll))
    np.testing.assert_allclose(turn, rodrigues((0.1, 0.2, -0.05)), atol=1e-5)


def test_arkit_names_all_shapes_once(ict):
    values = blendshapes(ict_track(ict), ict)
    assert values.shape == (1, 52)
    assert len(set(BLENDSHAPES)) == 52
    assert BLENDSHAPES[:3] == ("EyeBlinkLeft", "EyeLookDownLeft", "EyeLookInLeft")
    assert BLENDSHAPES[-3:] == ("NoseSneerLeft", "NoseSneerRight", "TongueOut")
    assert ROTATIONS[:4] == ("HeadYaw", "HeadPitch", "HeadRoll", "LeftEyeYaw")
    for name in parts.EXPRESSIONS:
        if name in ("jawOpen", "eyeBlink_L", "eyeBlink_R") or name.startswith("eyeLook"):
            continue
        moved = blendshapes(ict_track(ict, **{name: 0.8}), ict) - values
        assert np.count_nonzero(moved) == 1, name


def test_arkit_of_the_procedural_head_drives_it_back():
    """What the table holds gives the codes again, but what ARKit does not split by side."""
    head = procedural_head()
    names = {name: k for k, name in enumerate(head.expression_names)}
    exp = np.zeros((len(IDS), len(names)))
    exp[:, [names["mouthSmile_L"], names["mouthPucker"]]] = 0.6, 0.3
    track = replace(track_of(small_flame()), exp=exp)
    table = blendshapes(track, head)
    assert table.shape == (len(track.ids), 52)
    assert not table[:, BLENDSHAPES.index("MouthClose")].any()
    values = {name: torch.from_numpy(table[:, k]) for k, name in enumerate(BLENDSHAPES)}
    codes = arkit_codes(values, head)
    np.testing.assert_allclose(codes.exp, exp, atol=1e-6)


def test_arkit_of_another_head_is_refused(tmp_path):
    head = small_flame()
    flags = write_inputs(tmp_path, track_of(head), head)[:4]
    with pytest.raises(UserError, match="the subject's is 'flame'"):
        export_arkit.main([*flags, "--out", str(tmp_path / "a.csv")])


def test_flame_parameters_follow_the_heads_motion():
    head = small_flame()
    track = track_of(head)
    rows = np.array([0, 3])
    for row, values in zip(rows, flame_parameters(track, head, rows), strict=True):
        pose = [values[k][0] for k in ("rotation", "neck_pose", "jaw_pose", "eyes_pose")]
        world = flame_vertices(
            head, values["shape"], values["expr"][0], np.concatenate(pose), values["translation"]
        )
        ours = track_vertices(head, track, row, HEAD_VERTICES) @ track.head_R[row].T
        np.testing.assert_allclose(world, ours + track.head_t[row], atol=1e-6)


def with_trunk(track):
    """The track on a trunk whose turn differs in every frame."""
    rng = np.random.default_rng(8)
    trunk = track.R @ np.stack([rodrigues(v) for v in rng.normal(size=(len(track), 3)) * 0.2])
    neck = trunk.transpose(0, 2, 1) @ track.R
    six = np.concatenate([neck[:, 0], neck[:, 1]], 1)
    return replace(track, trunk_R=trunk, trunk_t=track.t + 0.01, neck=six)


def test_vhap_holds_head_and_neck_of_a_track_with_a_trunk():
    head = small_flame()
    track = with_trunk(track_of(head))
    rows = np.arange(len(track))
    for row, values in zip(rows, flame_parameters(track, head, rows), strict=True):
        trunk = track.camera_R @ rodrigues(values["rotation"][0])
        np.testing.assert_allclose(trunk, track.trunk_R[row], atol=1e-6)
        pose = [values[k][0] for k in ("rotation", "neck_pose", "jaw_pose", "eyes_pose")]
        world = flame_vertices(
            head, values["shape"], values["expr"][0], np.concatenate(pose), values["translation"]
        )
        ours = track_vertices(head, track, row, HEAD_VERTICES) @ track.head_R[row].T
        np.testing.assert_allclose(world, ours + track.head_t[row], atol=1e-6)


def test_exports_of_a_track_with_a_trunk_read_back_as_the_head(tmp_path):
    head = small_flame("2020-toy")
    track = with_trunk(track_of(head, 100, 50))
    frames = parameters(track, head)["frames"]
    for row, frame in enumerate(frames):
        world = np.array(frame["world_mat"])
        np.testing.assert_allclose(np.diag([1, -1, -1]) @ world[:, :3], track.trunk_R[row],
                                   atol=1e-9)  # fmt: skip
        np.testing.assert_allclose(
            track.trunk_R[row] @ rodrigues(frame["pose"][3:6]), track.R[row], atol=1e-9
        )
    (tmp_path / "imavatar").mkdir()
    (tmp_path / "vhap").mkdir()
    flags = write_inputs(tmp_path / "imavatar", track, head)
    export_imavatar.main([*flags, "--out", str(tmp_path / "out")])
    same_track(read_imavatar(tmp_path / "out", options(head)).track, track, 1e-6)
    folder = export_to_vhap(tmp_path / "vhap", track, head)
    same_track(read_vhap(folder, options(head)).track, track, 1e-6)
