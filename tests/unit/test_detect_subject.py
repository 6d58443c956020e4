"""Subject selection, frame status and crop window, on synthetic landmarks."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from headsplat.detect.solve import solve_crop, solve_crop_box
from headsplat.detect.subject import choose_subject, link_faces
from headsplat.frames.crop import Crop
from headsplat.frames.images import decode_image
from headsplat.frames.packs import FrameStore
from headsplat.frames.table import COLUMNS
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz, write_npz
from headsplat.video.crop import crop_chunk, crop_image
from headsplat.video.info import VideoInfo
from headsplat.video.probe import probe_video
from tests.unit.video_files import make_video

SHAPE = np.random.default_rng(0).uniform(-0.5, 0.5, (478, 3)).astype(np.float32)
SHAPE[:4, :2] = [[-0.5, -0.5], [0.5, 0.5], [-0.5, 0.5], [0.5, -0.5]]


def face(x: float, y: float, height: float) -> np.ndarray:
    return SHAPE * height + np.array([x, y, 0], np.float32)


def info(n_frames: int, undecodable: tuple[int, ...] = ()) -> VideoInfo:
    return VideoInfo(
        path="clip.mp4",
        bytes=1,
        sha256="",
        width=640,
        height=480,
        rotation=0,
        source_fps=Fraction(25),
        n_source=n_frames,
        n_undecodable=len(undecodable),
        n_frames=n_frames,
        duration=n_frames / 25,
        pts=list(range(n_frames)),
        keyframes=[0],
        undecodable=list(undecodable),
        time_base=Fraction(1, 25),
        audio=None,
        hdr=False,
    )


def solve(tmp_path: Path, rows: list[tuple[int, np.ndarray]], video: VideoInfo, blur=()) -> tuple:
    """Run the stage on detections split over two chunk files."""
    video.save(tmp_path / "video.json")
    half = video.n_frames // 2 + 1
    paths = []
    for name, low, high in (("0", 1, half), ("1", half, video.n_frames + 1)):
        part = [(k, points) for k, points in rows if low <= k < high]
        paths.append(tmp_path / f"{name}.npz")
        write_npz(
            paths[-1],
            ids=np.arange(low, high, dtype=np.int32),
            face_frame=np.array([k for k, _ in part], np.int32),
            faces=np.array([p for _, p in part], np.float32).reshape(-1, 478, 3),
            score=np.ones(len(part), np.float32),
            sharpness=np.array([0.1 if k in blur else 1.0 for k, _ in part], np.float32),
        )
    out = [tmp_path / name for name in ("crop.json", "frames.tsv", "landmarks.npz")]
    solve_crop(tmp_path / "video.json", paths[::-1], *out, size=256)
    return Crop.load(out[0]), out[1].read_text().splitlines(), read_npz(out[2])


def test_briefly_larger_bystander_is_not_the_subject() -> None:
    frames, faces = [], []
    for k in range(1, 101):
        if not 40 <= k < 60:
            frames.append(k)
            faces.append(face(200 + 0.5 * k, 200, 150))
        if 30 <= k < 70:
            frames.append(k)
            faces.append(face(480, 220, 210))
    subject = choose_subject(link_faces(np.array(frames), np.array(faces)))
    assert subject.ids == [k for k in range(1, 101) if not 40 <= k < 60]
    assert max(c[0] for c in subject.centers) < 270


def test_faces_that_cross_keep_their_identity() -> None:
    frames, faces = [], []
    for k in range(60):
        for face_k in (face(100 + 5 * k, 150, 130), face(400 - 5 * k, 300, 160)):
            frames.append(k + 1)
            faces.append(face_k)
    tracks = link_faces(np.array(frames), np.array(faces))
    assert sorted(len(track.ids) for track in tracks) == [60, 60]
    assert np.median(choose_subject(tracks).heights) == pytest.approx(160)


def test_frame_status_values(tmp_path: Path) -> None:
    rows = []
    for k in range(1, 101):
        if k in (10, 11):
            continue
        rows.append((k, face(20 if k == 50 else 300, 240, 150)))
        if k in (30, 31):
            rows.append((k, face(500, 200, 130)))
    box, lines, table = solve(tmp_path, rows, info(100, (70,)), blur=(20,))
    expected = {10: "no_face", 11: "no_face", 20: "blurred", 30: "several_faces"}
    expected |= {31: "several_faces", 50: "clipped", 70: "undecodable"}
    status = dict(enumerate(table["status"].tolist(), 1))
    assert {k: s for k, s in status.items() if s != "ok"} == expected
    assert lines[0].split("\t") == [*COLUMNS, "crc32"]
    assert lines[30].split("\t")[0:3:2] == ["30", "several_faces"]
    assert lines[30].split("\t")[4] == "2"
    assert np.isnan(table["points"][9]).all()
    np.testing.assert_allclose(table["points"][0], face(300, 240, 150))
    confidence = table["confidence"]
    assert confidence[9] == confidence[69] == 0
    assert confidence[0] > 0.9
    assert confidence[19] < 0.5
    assert confidence[49] < 0.2
    assert table["time"][25] == 1.0
    assert (box.source_width, box.source_height, box.size) == (640, 480, 256)


@pytest.mark.parametrize(
    ("name", "damage", "words"),
    [
        ("blendshapes", lambda v: v[:-1], "float32 [99, 52], expected [100, 52] for 100 faces"),
        ("blendshapes", lambda v: v[:, :51], "float32 [100, 51], expected [100, 52]"),
        ("blendshapes", lambda v: v.astype("U5"), "<U5 [100, 52]"),
        ("points68", lambda v: v[..., :1], "float32 [100, 68, 1]"),
        ("faces", lambda v: v[:, :468], "float32 [100, 468, 3]"),
        ("faces", lambda v: v * np.inf, "points of a face are not finite"),
        ("score", lambda v: v[:, None], "float32 [100, 1]"),
        ("face_frame", lambda v: v.astype(float), "float64 [100]"),
        ("face_frame", lambda v: v + 1000, "faces in frames that it does not have"),
    ],
)
def test_damaged_detections_are_one_line(tmp_path: Path, name, damage, words) -> None:
    info(100).save(tmp_path / "video.json")
    arrays = {
        "ids": np.arange(1, 101, dtype=np.int32),
        "face_frame": np.arange(1, 101, dtype=np.int32),
        "faces": np.array([face(300, 240, 150)] * 100, np.float32),
        "score": np.ones(100, np.float32),
        "sharpness": np.ones(100, np.float32),
        "blendshapes": np.full((100, 52), 0.5, np.float32),
        "points68": np.full((100, 68, 2), 5, np.float32),
    }
    out = [tmp_path / name for name in ("crop.json", "frames.tsv", "landmarks.npz")]
    with np.errstate(invalid="ignore"):
        write_npz(tmp_path / "0.npz", **arrays | {name: damage(arrays[name])})
    with pytest.raises(UserError) as caught:
        solve_crop(tmp_path / "video.json", [tmp_path / "0.npz"], *out, size=256)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not any(path.exists() for path in out)


def test_too_few_faces_none_and_small_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="clip.mp4: no face in any frame;"):
        solve(tmp_path, [], info(100))
    with pytest.raises(UserError, match=r"in 19 of 100 frames \(19%\)"):
        solve(tmp_path, [(k, face(300, 240, 150)) for k in range(1, 20)], info(100))
    with pytest.raises(UserError, match="largest measures 90 px"):
        solve(tmp_path, [(k, face(300, 240, 90)) for k in range(1, 101)], info(100))


def test_numbers_below_a_limit_are_rounded_down(tmp_path: Path) -> None:
    sizes = [(k, face(300, 240, 124 if k < 20 else 119.7)) for k in range(1, 101)]
    with pytest.raises(UserError, match=r"largest measures 119 px .*, 120 are needed"):
        solve(tmp_path, sizes, info(100))
    with pytest.raises(
        UserError, match=r"in 199 of 1000 frames \(19%\), at least 20%.* 801 no face"
    ):
        solve(tmp_path, [(k, face(300, 240, 150)) for k in range(1, 200)], info(1000))


def test_missing_frames_are_named(tmp_path: Path) -> None:
    rows = [(k, face(300, 240, 150)) for k in range(1, 51)]
    solve(tmp_path, rows, info(50))
    info(60).save(tmp_path / "video.json")
    out = [tmp_path / name for name in ("a", "b", "c")]
    with pytest.raises(UserError, match=r"first missing: \[51, 52"):
        solve_crop(tmp_path / "video.json", [tmp_path / "0.npz", tmp_path / "1.npz"], *out, 256)


def test_crop_has_margins_ignores_outliers_and_stays_inside() -> None:
    faces = np.array([face(900, 500, 200)] * 99 + [face(1800, 500, 200)])
    box = solve_crop_box(faces, (1920, 1080), 512)
    assert (box.x0, box.y0, box.side) == (700, 300, 400)
    near_edge = solve_crop_box(np.array([face(150, 120, 200)] * 10), (1920, 1080), 512)
    assert near_edge.x0 == 0
    assert near_edge.y0 == 0
    assert 320 <= near_edge.side <= 400


def test_crop_of_a_large_face_pads_only_if_necessary() -> None:
    whole = solve_crop_box(np.array([face(240, 240, 300)] * 10), (480, 480), 512)
    assert (whole.x0, whole.y0, whole.side) == (0, 0, 480)
    roaming = np.array([face(x, 360, 300) for x in np.linspace(200, 1000, 200)])
    wide = solve_crop_box(roaming, (1280, 720), 512)
    assert wide.side > 1000
    assert wide.y0 < 0
    assert wide.y0 + wide.side > 720
    assert wide.x0 >= 0


@pytest.mark.parametrize("side", [96, 64, 200, 411])
def test_crop_geometry_is_exact(side: int) -> None:
    width, height, size = 500, 450, 128
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    image = np.stack([x / 2, y / 2, np.full_like(x, 77)], axis=-1).astype(np.uint8)
    box = Crop(31, 17, side, size, width, height)
    crop = crop_image(image, box).astype(float)
    center = (np.arange(size) + 0.5) * side / size
    inner = slice(4, -4)
    assert np.abs(crop[:, inner, 0] + 0.25 - (31 + center[inner]) / 2).max() < 1.0
    assert abs((crop[:, inner, 0] + 0.25 - (31 + center[inner]) / 2).mean()) < 0.3
    assert np.abs(crop[inner, :, 1] + 0.25 - (17 + center[inner, None]) / 2).max() < 1.0


def test_outside_of_the_image_is_black() -> None:
    image = np.full((100, 100, 3), 200, np.uint8)
    crop = crop_image(image, Crop(-50, 0, 150, 150, 100, 100))
    assert (crop[:100, :50] == 0).all()
    assert (crop[:100, 50:] == 200).all()
    assert (crop[100:] == 0).all()


def test_shrinking_does_not_alias() -> None:
    image = np.zeros((512, 512, 3), np.uint8)
    image[:, ::2] = 255
    crop = crop_image(image, Crop(0, 0, 512, 128, 512, 512))
    assert np.abs(crop.astype(int) - 127.5).max() <= 1


def test_chunks_pack_every_id(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", range(75), Fraction(1, 30))
    probed = probe_video(video, tmp_path / "video.json")
    Crop(10, 5, 100, 64, 160, 120).save(tmp_path / "crop.json")
    paths = [tmp_path / f"{c}.zip" for c in range(3)]
    for chunk, path in enumerate(paths):
        crop_chunk(video, tmp_path / "video.json", tmp_path / "crop.json", chunk, 3, path)
    with FrameStore(paths) as store:
        assert store.ids == list(range(1, probed.n_frames + 1))
        assert decode_image(store.read(62)).shape == (64, 64, 3)
    Crop(10, 5, 100, 64, 161, 120).save(tmp_path / "crop.json")
    with pytest.raises(UserError, match="made for a 161 x 120 video"):
        crop_chunk(video, tmp_path / "video.json", tmp_path / "crop.json", 0, 3, paths[0])
