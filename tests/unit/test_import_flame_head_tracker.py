"""flame-head-tracker import: projection, images, alignment, and refusals."""

import numpy as np
import pytest

from headsplat.formats.flame_head_tracker.alignment import alignment, one_camera, undo_alignment
from headsplat.formats.flame_head_tracker.reader import read_flame_head_tracker
from headsplat.runtime.errors import UserError

from .foreign_flame import (
    flame_vertices,
    options,
    poses,
    project,
    rodrigues,
    small_flame,
    track_vertices,
)
from .foreign_flame import image as save_image

FRAMES = (0, 1, 2, 4)
SIZE = 64


def looking_at_the_head(angles, off) -> np.ndarray:
    """(1, 6): three angles, and a center from which the camera sees the head's origin."""
    turn = rodrigues((0, 0, angles[2])) @ rodrigues((0, angles[0], 0))
    turn = turn @ rodrigues((angles[1], 0, 0))
    return np.concatenate([angles, turn @ (off + [0, 0, 1.1])])[None]


def arrays(frame: int, version: str = "4.1", realigned: bool = True) -> dict[str, np.ndarray]:
    """One frame in the official layout; images are smaller, the landmarks left out."""
    rng = np.random.default_rng(frame)
    focal = 128 / np.tan(np.deg2rad(10))
    aligned = rng.integers(0, 255, (1, SIZE, SIZE, 3), dtype=np.uint8)
    source = rng.integers(0, 255, (1, 48, 96, 3), dtype=np.uint8)
    pose = poses(6)[frame]
    found = {
        "shape": np.random.default_rng(99).normal(size=(1, 300)) * 0.05,
        "exp": rng.normal(size=(1, 100)) * 0.1,
        "head_pose": np.zeros((1, 3)),
        "jaw_pose": pose[None, 6:9],
        "eye_pose": pose[None, 9:],
        "tex": rng.normal(size=(1, 50)),
        "light": rng.normal(size=(1, 9, 3)),
        "cam": looking_at_the_head(rng.normal(size=3) * 0.25, rng.normal(size=3) * 0.01),
        "blendshape_scores": rng.random((1, 52)),
    }
    found = {key: value.astype(np.float32) for key, value in found.items()}
    if version == "4.1":
        found["fov"] = np.array([20], np.float32)
        found["K"] = np.array([[[focal, 0, 128], [0, focal, 128], [0, 0, 1]]], np.float32)
    found["img_aligned"] = aligned
    found["img"] = aligned if realigned else source
    found["parsing_aligned"] = np.zeros((1, SIZE, SIZE), np.int64)
    return found


def write(folder, frame: int, values: dict) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / f"{frame}.npz", **values)


def clip(folder, **kind):
    for frame in FRAMES:
        write(folder, frame, arrays(frame, **kind))
    return folder


def tools_pixels(points, cam, K, size) -> np.ndarray:
    """The tracker's own way: camera-to-world, its clip space, its screen of 256, then the image.

    Its projection matrix mirrors the principal point and flips y twice on the way.
    """
    turn = rodrigues((0, 0, cam[2])) @ rodrigues((0, cam[0], 0)) @ rodrigues((cam[1], 0, 0))
    to_world = np.eye(4)
    to_world[:3, :3], to_world[:3, 3] = turn, cam[3:]
    to_world[:, 1:3] *= -1
    view = np.linalg.inv(to_world)
    clip_space = np.zeros((4, 4))
    clip_space[0, 0], clip_space[0, 2] = 2 * K[0, 0] / 256, 1 - 2 * K[0, 2] / 256
    clip_space[1, 1], clip_space[1, 2] = 2 * K[1, 1] / 256, 1 - 2 * K[1, 2] / 256
    clip_space[2, 2], clip_space[2, 3], clip_space[3, 2] = 10.1 / 9.9, -2 / 9.9, 1
    whole = clip_space @ view
    whole[1] *= -1
    seen = np.concatenate([points, np.ones((len(points), 1))], 1) @ whole.T
    ndc = seen[:, :2] / (seen[:, 3:] + 1e-8)
    ndc[:, 1] *= -1
    return (ndc / 2 + 0.5) * (size[1], size[0])


@pytest.mark.parametrize("version", ["3.4", "4.1"])
@pytest.mark.parametrize("realigned", [True, False])
def test_projection_is_the_trackers(tmp_path, version, realigned):
    head = small_flame()
    found = read_flame_head_tracker(
        clip(tmp_path, version=version, realigned=realigned), options(head)
    )
    track = found.track
    assert track.ids.tolist() == [1, 2, 3, 5]
    size = (SIZE, SIZE) if realigned else (48, 96)
    assert track.img_size.tolist() == list(size)
    for row, frame in enumerate(FRAMES):
        raw = {k: v[0].astype(float) for k, v in arrays(frame).items()}
        pose = np.concatenate([np.zeros(6), raw["jaw_pose"], raw["eye_pose"]])
        points = flame_vertices(head, raw["shape"], raw["exp"], pose)
        ours = project(track, track_vertices(head, track, row), row)
        theirs = tools_pixels(points, raw["cam"], raw["K"], size)
        assert np.abs(ours - theirs).max() < 1e-3
        assert ((points @ track.R[row].T + track.t[row])[:, 2] > 0).all()
        array = "img_aligned" if realigned else "img"
        assert found.images[frame + 1].path == tmp_path / f"{frame}.npz"
        assert found.images[frame + 1].array == array


def test_head_and_neck_rotations_are_combined(tmp_path):
    head = small_flame()
    for frame in FRAMES:
        values = arrays(frame)
        values["head_pose"] = poses(6, seed=8)[None, frame, :3].astype(np.float32)
        values["neck_pose"] = poses(6, seed=9)[None, frame, :3].astype(np.float32)
        write(tmp_path, frame, values)
    track = read_flame_head_tracker(tmp_path, options(head)).track
    for row, frame in enumerate(FRAMES):
        with np.load(tmp_path / f"{frame}.npz") as archive:
            raw = {k: archive[k][0].astype(float) for k in archive.files if k != "fov"}
        pose = np.concatenate([raw[k] for k in ("head_pose", "neck_pose", "jaw_pose", "eye_pose")])
        points = flame_vertices(head, raw["shape"], raw["exp"], pose)
        theirs = tools_pixels(points, raw["cam"], raw["K"], (SIZE, SIZE))
        ours = project(track, track_vertices(head, track, row), row)
        assert np.abs(ours - theirs).max() < 1e-3


def test_blinks_become_eyelids_with_a_gain(tmp_path):
    clip(tmp_path)
    track = read_flame_head_tracker(tmp_path, options(blink_gain=0.7)).track
    scores = np.stack([arrays(frame)["blendshape_scores"][0] for frame in FRAMES])
    np.testing.assert_allclose(track.eyelids, 0.7 * scores[:, [9, 10]], atol=1e-6)


def test_gaps_and_dropped_parameters_are_noted(tmp_path):
    notes = " | ".join(read_flame_head_tracker(clip(tmp_path), options()).notes)
    for words in ("1 frames between 0 and 4 are absent", "'img_aligned'", "0.5 times", "'tex'"):
        assert words in notes


def shifted_focal(values):
    values["K"] = values["K"] * np.array([1.1, 1.1, 1], np.float32)[:, None]


def nan_camera(values):
    values["cam"] = values["cam"] * np.nan


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v.pop("cam"), ("2.npz", "'cam' is missing")),
        (nan_camera, ("2.npz", "'cam'", "not finite")),
        (lambda v: v.update(shape=v["shape"][:, :100]), ("2.npz", "'shape' has 100", "300")),
        (lambda v: v.update(exp=v["exp"][:, :50]), ("2.npz", "'exp' has 50 codes", "100")),
        (lambda v: v.update(jaw_pose=np.zeros((1, 6))), ("2.npz", "'jaw_pose' has shape [1, 6]")),
        (lambda v: (v.pop("K"), v.pop("fov")), ("2.npz", "'K' is missing", "3.4 and")),
        (shifted_focal, ("2.npz", "'K' differs", "optimize_fov")),
        (lambda v: v.pop("img_aligned"), ("2.npz", "'img_aligned' is missing")),
    ],
)
def test_bad_values_name_file_and_key(tmp_path, change, words):
    values = arrays(2)
    change(values)
    write(clip(tmp_path), 2, values)
    with pytest.raises(UserError) as caught:
        read_flame_head_tracker(tmp_path, options())
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bad_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"no <frame>\.npz"):
        read_flame_head_tracker(tmp_path, options())
    clip(tmp_path)
    with pytest.raises(UserError, match=r"FLAME 2020, the head model is FLAME 2023"):
        read_flame_head_tracker(tmp_path, options(small_flame("2023-toy")))
    (tmp_path / "002.npz").write_bytes((tmp_path / "2.npz").read_bytes())
    with pytest.raises(UserError, match=r"2\.npz: frame 2 is also"):
        read_flame_head_tracker(tmp_path, options())
    (tmp_path / "002.npz").unlink()
    whole = (tmp_path / "2.npz").read_bytes()
    (tmp_path / "2.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"2\.npz cannot be read"):
        read_flame_head_tracker(tmp_path, options())
    # The central directory is whole, an array is not.
    broken = bytearray(whole)
    broken[60:400] = bytes(340)
    (tmp_path / "2.npz").write_bytes(bytes(broken))
    with pytest.raises(UserError, match=r"2\.npz.* cannot be read"):
        read_flame_head_tracker(tmp_path, options())


def face(angle: float, scale: float, center) -> np.ndarray:
    """(478, 2) points, of which eyes and mouth make a plausible face."""
    points = np.zeros((478, 2))
    right, left = (33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380)
    points[list(right)] = [-30, -20]
    points[list(left)] = [30, -22]
    points[61], points[291] = [-20, 40], [22, 41]
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ turn.T * scale + center


def test_the_alignment_is_undone_in_the_videos_images(tmp_path):
    head = small_flame()
    clip(tmp_path / "run")
    faces = {}
    for frame in FRAMES:
        # Gray values encode image numbers.
        save_image(tmp_path / f"video/{frame + 1:05d}.png", (240, 320), 10 + frame)
        faces[10 + frame] = face(0.02 * frame, 1 + 0.01 * frame, (150 + 2 * frame, 110))

    def detect(image):
        return faces[int(image[0, 0, 0])]

    found = read_flame_head_tracker(
        tmp_path / "run", options(head, images=tmp_path / "video", detect=detect)
    )
    track = found.track
    assert track.img_size.tolist() == [240, 320]
    assert found.images[5].path.name == "00005.png"
    for row, frame in enumerate(FRAMES):
        raw = {k: v[0].astype(float) for k, v in arrays(frame).items()}
        pose = np.concatenate([np.zeros(6), raw["jaw_pose"], raw["eye_pose"]])
        points = flame_vertices(head, raw["shape"], raw["exp"], pose)
        aligned = tools_pixels(points, raw["cam"], raw["K"], (SIZE, SIZE))
        # The tracker's crop as it cuts it: corner plus axes of the rotated square.
        p = faces[10 + frame]
        eyes = [p[list(e)].mean(0) for e in ((33, 160, 158, 133), (362, 385, 387, 263))]
        mouth, middle = (p[61] + p[291]) / 2, (eyes[0] + eyes[1]) / 2
        across, down = eyes[1] - eyes[0], mouth - middle
        x = across - np.flipud(down) * [-1, 1]
        x /= np.hypot(*x)
        x *= max(np.hypot(*across) * 2, np.hypot(*down) * 1.8) * 1.3
        y = np.flipud(x) * [-1, 1]
        corner = middle + 0.1 * down - x - y
        theirs = corner + aligned[:, :1] * 2 / SIZE * x + aligned[:, 1:] * 2 / SIZE * y
        ours = project(track, track_vertices(head, track, row), row)
        # The residual is what one camera cannot represent; the reader reports it.
        assert np.median(np.abs(ours - theirs)) < 0.3
        assert np.abs(ours - theirs).max() < 2
    assert any("the alignment is undone" in note for note in found.notes)


def test_undoing_an_alignment_is_exact():
    rng = np.random.default_rng(2)
    A, d = alignment(face(0.3, 1.2, (150, 110)), 512)
    R, t = rodrigues(rng.normal(size=3)), np.array([0.02, -0.03, 1.2])
    K = np.array([[1450.0, 0, 256], [0, 1450, 256], [0, 0, 1]])
    points = rng.normal(size=(50, 3)) * 0.1

    def seen(R, t, K):
        moved = (points @ R.T + t) @ K.T
        return moved[:, :2] / moved[:, 2:]

    source = np.linalg.solve(A, (seen(R, t, K) - d).T).T
    np.testing.assert_allclose(seen(*undo_alignment(R, t, K, A, d)), source, atol=1e-9)


def test_one_camera_finds_the_motion_that_one_camera_made():
    rng = np.random.default_rng(4)
    R = np.stack([np.diag([1.0, -1, -1]) @ rodrigues(rng.normal(size=3) * 0.3) for _ in range(5)])
    t = np.array([0.0, 0, 1]) + rng.normal(size=(5, 3)) * 0.03
    K = np.tile(np.array([[1200.0, 0, 250], [0, 1200, 240], [0, 0, 1]]), (5, 1, 1))
    points = rng.normal(size=(40, 3)) * 0.08
    found_R, found_t, shared, left = one_camera(R, t, K, points)
    assert left.max() < 1e-6
    np.testing.assert_allclose(shared, K[0])
    np.testing.assert_allclose(found_R, R, atol=1e-9)
    np.testing.assert_allclose(found_t, t, atol=1e-9)


def test_images_of_a_run_without_realigning_are_not_replaced(tmp_path):
    clip(tmp_path, realigned=False)
    with pytest.raises(UserError, match="without realigning"):
        read_flame_head_tracker(tmp_path, options(images=tmp_path))


def test_a_frame_delta_numbers_the_videos_images_alone(tmp_path):
    clip(tmp_path / "run")
    with pytest.raises(UserError, match="'frame_delta' is only for"):
        read_flame_head_tracker(tmp_path / "run", options(frame_delta=1))
    save_image(tmp_path / "video/00001.png")
    given = options(images=tmp_path / "video", detect=lambda image: None, frame_delta=3)
    with pytest.raises(UserError, match="has no image 3 for frame 0"):
        read_flame_head_tracker(tmp_path / "run", given)
    blind = options(images=tmp_path / "video", detect=lambda image: None)
    for k in range(2, 6):
        save_image(tmp_path / f"video/{k:05d}.png")
    with pytest.raises(UserError, match="no face is seen"):
        read_flame_head_tracker(tmp_path / "run", blind)
