"""Outputs of the import stage: window, intrinsics, packed images, record."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import import_chunk
import import_track as script
from headsplat.formats.flashavatar.reader import read_flashavatar
from headsplat.formats.importing.clip import ImageSource, ImportedClip, ImportOptions, make_track
from headsplat.formats.importing.images import read_image, read_mask, read_matte
from headsplat.formats.importing.record import ImportRecord
from headsplat.formats.importing.window import square_window
from headsplat.formats.registry import FORMATS
from headsplat.frames.crop import Crop
from headsplat.frames.images import decode_image, encode_jpeg, encode_png
from headsplat.frames.packs import FrameStore
from headsplat.frames.table import read_frames
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_npz
from headsplat.track import read_track
from headsplat.video.info import VideoInfo
from tests.unit.frame_folders import SIZE, flame_like, flashavatar_dataset
from tests.unit.sphere_head import sphere_head

COUNT = 7
OUTPUTS = {
    "record": "import.json", "track": "track.npz", "identity": "identity.npy",
    "crop": "crop.json", "frames": "frames.tsv", "info": "video.json",
    "landmarks": "landmarks.npz",
}  # fmt: skip


def run(folder: Path, work: Path, size: int) -> None:
    flame_like().save(work / "head.npz")
    script.main([
        "--kind=flashavatar", f"--folder={folder}", f"--head={work / 'head.npz'}",
        f"--size={size}", *(f"--{flag}={work / name}" for flag, name in OUTPUTS.items()),
    ])  # fmt: skip


def pack(part: str, work: Path, chunk: int, chunks: int) -> FrameStore:
    out = work / part / f"{chunk:03d}.zip"
    import_chunk.main([
        f"--part={part}", f"--record={work / 'import.json'}", f"--crop={work / 'crop.json'}",
        f"--chunk={chunk}", f"--chunks={chunks}", f"--out={out}",
    ])  # fmt: skip
    return FrameStore([out])


def test_every_kind_has_a_reader():
    assert all(callable(entry.load()) for entry in FORMATS.values())


def test_scripts_write_the_inputs_of_later_stages(tmp_path):
    folder = flashavatar_dataset(tmp_path / "data", COUNT)
    run(folder, tmp_path, SIZE // 2)
    whole = read_flashavatar(folder, ImportOptions(flame_like())).track
    track = read_track(tmp_path / "track.npz")
    assert track.img_size.tolist() == [SIZE // 2, SIZE // 2]
    expected = np.diag([0.5, 0.5, 1]) @ whole.K
    np.testing.assert_allclose(track.K, expected, rtol=1e-6)
    np.testing.assert_allclose(track.R, whole.R, atol=1e-7)
    assert np.isnan(track.residual_px).all()
    np.testing.assert_allclose(np.load(tmp_path / "identity.npy"), whole.shape, atol=1e-7)
    rows = read_frames(tmp_path / "frames.tsv")
    assert [(r.id, r.status, r.usable) for r in rows] == [
        (i, "ok", True) for i in range(1, COUNT + 1)
    ]
    assert rows[3].time == pytest.approx(3 / 25)
    landmarks = read_npz(tmp_path / "landmarks.npz", ("ids", "points", "time", "confidence"))
    assert landmarks["ids"].tolist() == [r.id for r in rows]
    assert np.isnan(landmarks["points"]).all()
    info = VideoInfo.load(tmp_path / "video.json")
    assert (info.n_frames, info.audio, info.width, info.height) == (COUNT, None, SIZE, SIZE)

    ids = []
    for chunk in range(3):
        with (
            pack("frames", tmp_path, chunk, 3) as frames,
            pack("alpha", tmp_path, chunk, 3) as alpha,
            pack("parsing", tmp_path, chunk, 3) as parsing,
        ):
            assert frames.ids == alpha.ids == parsing.ids
            ids += frames.ids
            for frame in frames.ids:
                image = decode_image(frames.read(frame))
                assert image.shape == (SIZE // 2, SIZE // 2, 3)
                np.testing.assert_allclose(image, frame, atol=1)
                head = decode_image(parsing.read(frame, "_neckhead"))
                assert set(np.unique(head)) == {0, 255}
                assert head[SIZE // 4, SIZE // 4] == 255
                assert head[0, 0] == 0
                assert decode_image(parsing.read(frame, "_mouth")).max() == 0
                assert decode_image(alpha.read(frame))[SIZE // 4, SIZE // 4] > 250
    assert ids == [r.id for r in rows]


def test_images_of_the_right_size_are_copied(tmp_path):
    folder = flashavatar_dataset(tmp_path / "data", COUNT)
    run(folder, tmp_path, SIZE)
    with pack("frames", tmp_path, 0, 1) as frames:
        assert frames.read(4) == (folder / "imgs/00004.jpg").read_bytes()
    Image.new("RGB", (SIZE, SIZE - 2)).save(folder / "imgs/00004.jpg")
    with pytest.raises(UserError, match=r"00004\.jpg: is 48 x 46 pixels, the track is of 48 x 48"):
        pack("frames", tmp_path, 0, 1)
    (folder / "imgs/00004.jpg").write_bytes((folder / "imgs/00005.jpg").read_bytes()[:200])
    with pytest.raises(UserError, match=r"00004\.jpg: cannot be read as an image"):
        pack("frames", tmp_path, 0, 1)


def test_masks_of_0_and_1_and_wrong_sizes_are_refused(tmp_path):
    folder = flashavatar_dataset(tmp_path / "data", COUNT)
    run(folder, tmp_path, SIZE)
    mask = folder / "parsing/00002_neckhead.png"
    mask.write_bytes(encode_png(np.ones((SIZE, SIZE), np.uint8)))
    with pytest.raises(UserError, match=r"00002_neckhead\.png: its pixels are 0 and 1"):
        pack("parsing", tmp_path, 0, 1)
    (folder / "alpha/00003.jpg").write_bytes(encode_jpeg(np.zeros((8, 8), np.uint8)))
    with pytest.raises(UserError, match=r"00003\.jpg: is 8 x 8 pixels"):
        pack("alpha", tmp_path, 0, 1)


def test_arrays_inside_npz(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (1, 6, 8, 3), dtype=np.uint8)
    labels = rng.integers(0, 19, (1, 6, 8))
    path = tmp_path / "3.npz"
    np.savez_compressed(path, img=image, parsing=labels, alpha=image[..., 0] / 255.0)
    np.testing.assert_array_equal(read_image(ImageSource(path, "img"), (6, 8)), image[0])
    np.testing.assert_array_equal(read_matte(ImageSource(path, "alpha"), (6, 8)), image[0, ..., 0])
    where = ImageSource(path, "parsing", "bisenet")
    head, mouth = (read_mask(where, (6, 8), part) for part in ("head_mask", "mouth_mask"))
    np.testing.assert_array_equal(head > 0, ~np.isin(labels[0], (0, 16)))
    np.testing.assert_array_equal(mouth > 0, np.isin(labels[0], (11, 12, 13)))
    with pytest.raises(UserError, match=r"3\.npz: 'nothing': cannot be read"):
        read_image(ImageSource(path, "nothing"), (6, 8))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"3\.npz: 'img': cannot be read"):
        read_image(ImageSource(path, "img"), (6, 8))


def test_label_images_with_and_without_a_palette(tmp_path):
    labels = np.array([[0, 1, 11], [16, 17, 12]], np.uint8)
    plain = Image.fromarray(labels)
    palette = Image.fromarray(labels, mode="P")
    palette.putpalette([k for i in range(256) for k in (255 - i, i, 7)])
    for image in (plain, palette):
        image.save(tmp_path / "1.png")
        source = ImageSource(tmp_path / "1.png", labels="bisenet")
        np.testing.assert_array_equal(
            read_mask(source, (2, 3), "head_mask") > 0, [[0, 1, 1], [0, 1, 1]]
        )
    Image.fromarray(labels + 10).save(tmp_path / "1.png")
    with pytest.raises(UserError, match=r"1\.png: labels: ids 10\.\.27 for 19 classes"):
        read_mask(source, (2, 3), "head_mask")


def wide_track(head, size: tuple[int, int], x: float, depth: float):
    count, six = 4, np.array([1.0, 0, 0, 0, 1, 0])
    return make_track(
        head, np.array([1, 2, 5, 6]), np.zeros(2), np.zeros((count, 3)), np.tile(six, (count, 1)),
        np.tile(six, (count, 2)), np.zeros((count, 2)),
        np.tile(np.diag([1.0, -1, -1]), (count, 1, 1)), np.tile([x, 0.0, depth], (count, 1)),
        np.array([[900.0, 0, size[1] / 2], [0, 900.0, size[0] / 2], [0, 0, 1]]), size,
    )  # fmt: skip


@pytest.mark.parametrize(("size", "x"), [((360, 640), 0.1), ((640, 360), 0.0), ((360, 640), -0.2)])
def test_window_of_images_that_are_not_square(size, x):
    head = sphere_head(24, 40)
    window = square_window(head, wide_track(head, size, x, 0.8), 128)
    assert 0 <= window.x0 <= window.x0 + window.side <= size[1]
    assert 0 <= window.y0 <= window.y0 + window.side <= size[0]
    center = np.array([[900 * x / 0.8 + size[1] / 2, size[0] / 2]])
    across = 2 * 900 * 0.1 / 0.8  # the ball's diameter in pixels
    assert 1.1 * across < window.side < 1.6 * across
    assert (abs(window.points(center) - 64) < 0.2 * 128).all()


def test_a_head_larger_than_the_short_side_leaves_the_image():
    head = sphere_head(24, 40)
    window = square_window(head, wide_track(head, (640, 360), 0.0, 0.4), 128)
    assert window.side > 360
    assert window.x0 < 0
    assert window.y0 >= 0


def test_the_window_carries_the_projection():
    head = sphere_head(24, 40)
    track = wide_track(head, (360, 640), 0.1, 0.8)
    window = square_window(head, track, 128)
    point = head.template[7].astype(np.float64)
    seen = track.K @ (track.R[0] @ point + track.t[0])
    cut = window.intrinsics(track.K) @ (track.R[0] @ point + track.t[0])
    np.testing.assert_allclose(cut[:2] / cut[2], window.points(seen[:2] / seen[2]), atol=1e-9)


def test_record_round_trip(tmp_path):
    track = wide_track(sphere_head(), (360, 640), 0.0, 0.8)
    ids = [1, 2, 5, 6]
    images = {i: ImageSource(Path(f"a/{i}.npz"), "img") for i in ids}
    labeled = {i: ImageSource(Path(f"s/{i}.png"), labels="bisenet") for i in ids}
    clip = ImportedClip(track, images, {}, labeled, labeled, ("A gap.",))
    ImportRecord.from_clip("vhap", Path("x"), clip).save(tmp_path / "import.json")
    record = ImportRecord.load(tmp_path / "import.json")
    assert record == ImportRecord.from_clip("vhap", Path("x"), clip)
    assert record.ids == ids
    value = json.loads((tmp_path / "import.json").read_text())
    del value["parts"]["alpha"]
    (tmp_path / "import.json").write_text(json.dumps(value))
    with pytest.raises(UserError, match=r"import\.json: not a record"):
        ImportRecord.load(tmp_path / "import.json")


def test_crop_json_is_the_window(tmp_path):
    folder = flashavatar_dataset(tmp_path / "data", COUNT)
    run(folder, tmp_path, 32)
    assert Crop.load(tmp_path / "crop.json") == Crop(0, 0, SIZE, 32, SIZE, SIZE)
    assert replace(Crop.load(tmp_path / "crop.json"), size=SIZE).scale == 1
