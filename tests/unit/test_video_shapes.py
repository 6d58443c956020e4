"""Files of several tracks, changing sizes and interlaced images."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from headsplat.video.decode import read_images
from headsplat.video.interlace import BOTTOM, TOP, field_order
from headsplat.video.probe import probe_video
from headsplat.video.shown import fitted
from tests.unit.video_files import make_video, number_of, numbered_image

BASE = Fraction(1, 25)


def disc(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    inside = (x - width / 2) ** 2 + (y - height / 2) ** 2 < (min(width, height) / 4) ** 2
    return np.where(inside[..., None], 255, 90).astype(np.uint8).repeat(3, -1)


def extent(image: np.ndarray) -> tuple[int, int]:
    """Width and height of the disc."""
    bright = image[..., 1] > 180
    return int(bright.any(axis=0).sum()), int(bright.any(axis=1).sum())


def video(path: Path, images: list[np.ndarray], codec: str, options: dict[str, str]) -> bytes:
    height, width = images[0].shape[:2]
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, BASE
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return path.read_bytes()


def test_a_phone_that_is_turned_keeps_the_aspect(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one = video(tmp_path / "1.ts", [disc(320, 180)] * 50, "libx264", {})
    two = video(tmp_path / "2.ts", [disc(180, 320)] * 40, "libx264", {})
    path = tmp_path / "turned.ts"
    path.write_bytes(one + two)
    info = probe_video(path, tmp_path / "video.json")
    assert "change their size or turn 1 times, first at 2.00 s to 180 x 320" in caplog.text
    assert (info.width, info.height, info.n_frames) == (320, 180, 90)
    shown = {k: p for k, p in read_images(path, info, 1, 91)}
    for frame_id in (10, 80):
        assert shown[frame_id].shape == (180, 320, 3)
        width, height = extent(shown[frame_id])
        assert abs(width - height) <= 2
    assert shown[80][:, :100].max() == 0
    again = next(read_images(path, info, 80, 81))[1]
    assert np.array_equal(again, shown[80])


def test_a_stream_that_tells_its_turn_at_key_frames(tmp_path: Path) -> None:
    plain, turned = tmp_path / "1.ts", tmp_path / "2.ts"
    image = disc(320, 180)
    image[:40, :60] = 20
    one = video(plain, [image] * 50, "libx264", {"x264-params": "keyint=10"})
    with av.open(str(plain)) as source, av.open(str(turned), "w") as file:
        stream = file.add_stream_from_template(source.streams.video[0])
        way = "h264_metadata=rotate=90:display_orientation=insert"
        turn = av.BitStreamFilterContext(way, source.streams.video[0], stream)
        for packet in source.demux(video=0):
            for other in turn.filter(packet if packet.size else None):
                other.stream = stream
                file.mux(other)
    info = probe_video(turned, tmp_path / "video.json")
    assert (info.width, info.height, info.rotation) == (180, 320, 90)
    both = tmp_path / "both.ts"
    both.write_bytes(one + turned.read_bytes())
    info = probe_video(both, tmp_path / "video.json")
    assert (info.width, info.height, info.rotation, info.n_frames) == (320, 180, 0, 100)
    shown = dict(read_images(both, info, 1, 101))
    for frame_id in (25, 77):
        assert abs(np.subtract(*extent(shown[frame_id]))) <= 2
        assert np.array_equal(next(read_images(both, info, frame_id, 101))[1], shown[frame_id])
    assert shown[25][10, 10].max() < 40
    # A quarter turn to the left brings the dark corner down.
    assert shown[77][170, 115].max() < 40


def test_fitting() -> None:
    assert fitted((640, 360), (640, 360)) == (640, 360)
    assert fitted((360, 640), (640, 360)) == (202, 360)
    assert fitted((320, 180), (640, 360)) == (640, 360)
    assert fitted((100_000, 1), (640, 360)) == (640, 1)


def two_tracks(path: Path, counts: tuple[int, int], sizes: list[tuple[int, int]]) -> Path:
    with av.open(str(path), "w") as file:
        streams = [file.add_stream("libx264", rate=25) for _ in sizes]
        for stream, size in zip(streams, sizes, strict=True):
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for index in range(max(counts)):
            for stream, size, count in zip(streams, sizes, counts, strict=True):
                if index < count:
                    image = numbered_image(index, *size)
                    frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                    frame.pts, frame.time_base = index, BASE
                    file.mux(stream.encode(frame))
        for stream in streams:
            file.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_the_largest_track_that_is_a_video_counts(tmp_path: Path, suffix: str) -> None:
    for counts, sizes in (
        ((60, 60), [(160, 120), (320, 240)]),
        ((1, 60), [(640, 480), (320, 240)]),
    ):
        path = two_tracks(tmp_path / f"two.{suffix}", counts, sizes)
        info = probe_video(path, tmp_path / "video.json")
        assert (info.width, info.height, info.n_frames) == (320, 240, 60)
        assert number_of(next(read_images(path, info, 41, 42))[1]) == 40


def moving(time: float, width: int = 320, height: int = 240) -> np.ndarray:
    """A gray scene in which a bright bar with a texture of its own moves 6 pixels a frame."""
    background = np.random.default_rng(0).integers(60, 120, (height // 8, width // 8))
    image = background.repeat(8, 0).repeat(8, 1)
    left = 40 + round(6 * time) % 200
    image[60:180, left : left + 60] = 220
    image[100:110, left + 10 : left + 50] = 20
    return image.astype(np.uint8)[..., None].repeat(3, -1)


def woven(index: int, order: str) -> np.ndarray:
    """Both fields of a frame, the later one half a frame later."""
    image, later = moving(index).copy(), moving(index + 0.5)
    first = 1 if order == TOP else 0
    image[first::2] = later[first::2]
    return image


@pytest.mark.parametrize("order", [TOP, BOTTOM])
@pytest.mark.parametrize("flagged", [True, False])
def test_combed_images_become_whole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, order: str, flagged: bool
) -> None:
    caplog.set_level("INFO")
    path = tmp_path / "combed.mp4"
    options = {"x264-params": f"crf=5:keyint=20:{order}=1" if flagged else "crf=5:keyint=20"}
    video(path, [woven(k, order) for k in range(60)], "libx264", options)
    info = probe_video(path, tmp_path / "video.json")
    assert info.fields == order
    assert f"interlaced ({order}), deinterlaced" in caplog.text
    whole = dict(read_images(path, info, 1, 61))
    error = [np.abs(whole[k].astype(int) - moving(k - 1)).mean() for k in range(10, 50)]
    combed = [np.abs(woven(k - 1, order).astype(int) - moving(k - 1)).mean() for k in range(10, 50)]
    assert np.mean(error) < 0.5 * np.mean(combed)
    for first in (2, 20, 21, 22, 40, 58):
        for frame_id, image in read_images(path, info, first, first + 3):
            assert np.array_equal(image, whole[frame_id])


@pytest.mark.parametrize("options", ["crf=5", "crf=5:tff=1"])
def test_whole_images_stay_whatever_the_flags_say(tmp_path: Path, options: str) -> None:
    path = tmp_path / "whole.mp4"
    video(path, [moving(k) for k in range(60)], "libx264", {"x264-params": options})
    assert probe_video(path, tmp_path / "video.json").fields is None


def test_field_order() -> None:
    def gray(images: list[np.ndarray]) -> list[np.ndarray]:
        return [image[..., 1].astype(np.int16) for image in images]

    for order in (TOP, BOTTOM):
        assert field_order(*gray([woven(k, order) for k in (4, 5, 6)])) == (True, order)
    assert field_order(*gray([moving(k) for k in (4, 5, 6)])) == (True, None)
    assert field_order(*gray([moving(4)] * 3)) == (False, None)


def test_interlaced_tape_formats(tmp_path: Path) -> None:
    path = tmp_path / "tape.mpg"
    options = {"flags": "+ildct+ilme", "b": "8M"}
    video(path, [woven(k, TOP) for k in range(60)], "mpeg2video", options)
    assert probe_video(path, tmp_path / "video.json").fields == TOP


def test_an_ordinary_clip_is_taken_as_whole(tmp_path: Path) -> None:
    info = probe_video(make_video(tmp_path / "a.mp4", range(60), BASE), tmp_path / "video.json")
    assert info.fields is None
    assert info.packets[:4] != [0, 1, 2, 3]
    assert sorted(info.packets) == list(range(60))
    assert info.images == list(range(60))
