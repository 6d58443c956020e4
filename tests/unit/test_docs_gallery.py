"""The README's images: what the workflow is given to play, and what is drawn of the results."""

import io
import json
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from headsplat_workflow.motions import read_motions

from benchmarks import gallery
from headsplat.formats.arkit.live_link import read_live_link
from headsplat.frames.packs import FrameZipWriter
from headsplat.synthetic.score import hello, write_hello
from headsplat.video.encode import VideoWriter
from headsplat.video.join import join_videos
from headsplat.video.sound import read_sound

SIDE, FRAMES = 64, 104


def test_the_workflow_can_play_what_is_prepared(tmp_path):
    gallery.prepare(tmp_path)
    motions = read_motions(tmp_path / "motions.tsv", ["demo"])
    assert not motions.refused
    assert {name: row.kind for name, row in motions.items()} == {
        "own_track": "track",
        "performance": "arkit",
        "hello": "speech",
    }
    table = read_live_link(tmp_path / "performance.csv")
    assert len(table.times) == gallery.FPS * gallery.SECONDS
    assert table.values["MouthSmileLeft"].max() > 0.5


def test_the_performance_closes_its_loop():
    for name, curve in gallery.performance().items():
        step = np.abs(np.diff(curve)).max()
        assert abs(curve[0] - curve[-1]) <= step + 1e-6, name


def image(shade: float) -> np.ndarray:
    return np.full((SIDE, SIDE, 3), shade * 255, np.uint8)


def encoded(pixels: np.ndarray, suffix: str) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, {"jpg": "JPEG", "png": "PNG"}[suffix])
    return data.getvalue()


@pytest.fixture
def demo(tmp_path):
    """A finished run in small: a clip that gets brighter, its masks, and its videos."""
    work, results = tmp_path / "work", tmp_path / "results"
    for folder in ("frames", "alpha", "parsing", "track"):
        (work / folder).mkdir(parents=True)
    (results / "driven").mkdir(parents=True)
    mask = np.full((SIDE, SIDE), 255, np.uint8)
    packs = {name: FrameZipWriter(work / name / "000.zip", s) for name, s in
             (("frames", ".jpg"), ("alpha", ".png"), ("parsing", ".png"))}  # fmt: skip
    for k in range(1, FRAMES + 1):
        packs["frames"].add(k, encoded(image(k / FRAMES), "jpg"))
        packs["alpha"].add(k, encoded(mask, "png"))
        packs["parsing"].add(k, encoded(mask, "png"), role="_neckhead")
        packs["parsing"].add(k, encoded(mask // (1 + k % 7), "png"), role="_mouth")
    for pack in packs.values():
        pack.__exit__()
    videos = {work / "track/overlay.mp4": FRAMES, results / "driven/own_track.mp4": FRAMES}
    videos[results / "driven/performance.mp4"] = gallery.FPS * gallery.SECONDS
    for path, count in videos.items():
        with VideoWriter(path, SIDE, SIDE, Fraction(25)) as writer:
            for k in range(count):
                writer.write(image(k / FRAMES))
    ids = np.arange(1, FRAMES + 1)
    np.savez(work / "track/track.npz", ids=ids, eyelids=np.zeros((FRAMES, 2), np.float32))
    (work / "split.json").write_text(json.dumps({"test": [7, 8, 9]}))
    return work, results


def test_the_animation_moves_and_is_small(demo, tmp_path):
    gallery.animation(*demo, tmp_path / "demo.webp")
    drawn = Image.open(tmp_path / "demo.webp")
    durations = []  # images that are alike are stored once, for longer
    for frame in range(drawn.n_frames):
        drawn.seek(frame)
        drawn.load()
        durations.append(drawn.info["duration"])
    assert sum(durations) == 1000 * gallery.SECONDS
    assert drawn.size[0] == 3 * gallery.TILE + 2 * gallery.GAP
    assert (tmp_path / "demo.webp").stat().st_size <= gallery.LARGEST
    # In each tile the shade of its own video, which gets brighter.
    middle = gallery.STRIP + gallery.TILE // 2
    for tile in range(3):
        x = tile * (gallery.TILE + gallery.GAP) + gallery.TILE // 2
        drawn.seek(0)
        first = np.asarray(drawn.convert("RGB"))[middle, x].mean()
        drawn.seek(drawn.n_frames - 1)
        last = np.asarray(drawn.convert("RGB"))[middle, x].mean()
        assert last > first + 150


def test_the_still_shows_a_held_out_frame(demo, tmp_path, capsys):
    gallery.still(*demo, tmp_path / "results.png")
    drawn = Image.open(tmp_path / "results.png")
    assert drawn.size == (
        3 * gallery.TILE + 2 * gallery.GAP,
        2 * (gallery.TILE + gallery.STRIP) + gallery.GAP,
    )
    assert "frame 7" in capsys.readouterr().out  # its mouth mask is the largest of the three


def test_the_image_of_speech_shows_a_frame_for_each_phone(tmp_path):
    write_hello(tmp_path / "hello.wav")
    path = tmp_path / "driven/hello.mp4"
    path.parent.mkdir()
    seconds = hello().seconds
    count = round(seconds * gallery.FPS)
    with VideoWriter(tmp_path / "silent.mp4", SIDE, SIDE, Fraction(25)) as writer:
        for k in range(count):
            writer.write(image(k / count))
    join_videos([tmp_path / "silent.mp4"], path, Fraction(25), read_sound(tmp_path / "hello.wav"))
    gallery.spoken(tmp_path, tmp_path / "speech.png")
    drawn = np.asarray(Image.open(tmp_path / "speech.png").convert("L")).astype(int)
    step = gallery.FACE + gallery.GAP
    shades = drawn[gallery.STRIP + gallery.FACE // 2, gallery.FACE // 2 :: step]
    assert len(shades) == len(gallery.PHONES_SHOWN)
    assert (np.diff(shades) > 5).all()  # the video gets brighter
    assert hello().names[-1] == "-"
