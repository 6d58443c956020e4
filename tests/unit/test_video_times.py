"""Time stamps as cameras and recorders leave them: out of order, missing, repeated, with pauses."""

import logging
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from headsplat.runtime.errors import UserError
from headsplat.video.decode import read_images
from headsplat.video.info import VideoInfo
from headsplat.video.probe import probe_video
from headsplat.video.sound import read_sound
from headsplat.video.timeline import Pieces, spread
from tests.unit.video_files import GOP, make_video, number_of, numbered_image

BASE = Fraction(1, 25)
MS = Fraction(1, 1000)


def numbers(path: Path, info: VideoInfo) -> list[int]:
    """The numbers shown by all frames, which are equal from any start."""

    def read(first: int, stop: int) -> list[tuple[int, bytes, int]]:
        images = read_images(path, info, first, stop)
        return [(k, image.tobytes(), number_of(image)) for k, image in images]

    end = info.n_frames + 1
    whole = read(1, end)
    for first in range(1, end, 7):
        assert read(first, min(first + 5, end)) == whole[first - 1 : first + 4]
    return [number for _, _, number in whole]


def in_order_of_decoding(path: Path, count: int, options: dict[str, str]) -> Path:
    """A video whose stamps are those of decoding, as if the table of offsets had been lost."""
    plain = make_video(path.with_name("plain.mp4"), range(count), BASE, options=options, rate=25)
    with av.open(str(plain)) as source, av.open(str(path), "w") as file:
        stream = file.add_stream_from_template(source.streams.video[0])
        for index, packet in enumerate(p for p in source.demux(video=0) if p.size):
            packet.pts = packet.dts = index * 512
            packet.stream = stream
            file.mux(packet)
    return path


@pytest.mark.parametrize("options", [{}, {"x264-params": GOP + ":open-gop=1"}])
@pytest.mark.parametrize("name", ["b.avi", "b.asf", "remuxed.mp4", "b.mkv"])
def test_images_come_in_their_order_whatever_the_stamps_say(
    tmp_path: Path, name: str, options: dict[str, str]
) -> None:
    options = options or {"x264-params": GOP}
    if name == "remuxed.mp4":
        path = in_order_of_decoding(tmp_path / name, 100, options)
    else:
        path = make_video(tmp_path / name, range(100), BASE, options=options, rate=25)
    info = probe_video(path, tmp_path / "video.json")
    assert (info.n_source, info.n_undecodable, info.n_frames) == (100, 0, 100)
    assert numbers(path, info) == list(range(100))


def test_a_bare_stream_goes_by_the_rate_it_declares(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = make_video(tmp_path / "raw.h264", range(90), Fraction(1, 30))
    info = probe_video(path, tmp_path / "video.json")
    assert "no time stamps; taken as 30.00 images a second" in caplog.text
    assert (info.n_source, info.n_frames) == (90, 75)
    assert numbers(path, info) == [
        min(range(90), key=lambda k: abs(k / 30 - n / 25)) for n in range(75)
    ]


def test_a_bare_stream_that_declares_no_rate_is_refused(tmp_path: Path) -> None:
    options = {"x265-params": "log-level=none:no-vui-timing-info=1"}
    path = make_video(tmp_path / "raw.hevc", range(60), BASE, "libx265", options=options)
    with pytest.raises(UserError, match="does not say its rate; wrap it .* -framerate RATE"):
        probe_video(path, tmp_path / "video.json")


@pytest.mark.parametrize("hours", [1, 24 * 10])
def test_a_pause_is_cut_out(tmp_path: Path, caplog: pytest.LogCaptureFixture, hours: int) -> None:
    later = hours * 3_600_000
    stamps = [40 * k for k in range(50)] + [later + 40 * k for k in range(50)]
    path = make_video(tmp_path / "paused.mkv", stamps, MS)
    info = probe_video(path, tmp_path / "video.json")
    assert "1 stretches of more than 2 s without an image are cut out" in caplog.text
    assert (info.n_frames, info.duration) == (100, pytest.approx(4, abs=0.01))
    assert numbers(path, info) == list(range(100))


def test_two_seconds_without_an_image_stay(tmp_path: Path) -> None:
    stamps = [40 * k for k in range(50)] + [1960 + 2000 + 40 * k for k in range(50)]
    info = probe_video(make_video(tmp_path / "held.mkv", stamps, MS), tmp_path / "video.json")
    assert info.n_frames == 50 + 49 + 50


@pytest.mark.parametrize("step", [10_000, 1_000_000])
def test_a_file_of_single_images_is_refused(tmp_path: Path, step: int) -> None:
    path = make_video(tmp_path / "slow.mkv", [step * k for k in range(20)], MS)
    with pytest.raises(UserError, match=r"an image every 10+\.0 s; at least 2 images a second"):
        probe_video(path, tmp_path / "video.json")


def test_a_thousand_images_a_second(tmp_path: Path) -> None:
    path = make_video(tmp_path / "fast.mkv", range(2100), MS, "mpeg4", options={}, size=(64, 64))
    info = probe_video(path, tmp_path / "video.json")
    assert info.n_frames == round(info.duration * 25)
    assert info.images[:5] == [0, 40, 80, 120, 160]


@pytest.mark.parametrize("name", ["joined.ts", "joined.mkv", "joined.mpg"])
def test_recordings_joined_end_to_end_keep_all_images(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    parts = []
    for first in (0, 60):
        part = tmp_path / f"{first}{Path(name).suffix}"
        codec = "mpeg2video" if name.endswith("mpg") else "libx264"
        options = {"b": "2M"} if name.endswith("mpg") else {"x264-params": GOP}
        with av.open(str(part), "w") as file:
            stream = file.add_stream(codec, rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
            for index in range(60):
                image = numbered_image(first + index)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = index, BASE
                file.mux(stream.encode(frame))
            file.mux(stream.encode(None))
        parts.append(part.read_bytes())
    path = tmp_path / name
    path.write_bytes(b"".join(parts))
    info = probe_video(path, tmp_path / "video.json")
    assert "2 recordings that follow each other" in caplog.text
    assert (info.n_source, info.n_frames) == (120, 120)
    assert numbers(path, info) == list(range(120))


def test_videos_one_behind_the_other_are_refused(tmp_path: Path) -> None:
    path = make_video(tmp_path / "one.mp4", range(60), BASE)
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(UserError, match="2 videos one behind the other"):
        probe_video(path, tmp_path / "video.json")


def test_images_that_share_stamps_all_stay(tmp_path: Path) -> None:
    stamps = [80 * (k // 2) for k in range(100)]
    path = make_video(tmp_path / "pairs.mkv", stamps, MS, options={"x264-params": "bframes=0"})
    info = probe_video(path, tmp_path / "video.json")
    assert (info.n_source, info.n_frames) == (100, pytest.approx(100, abs=1))
    assert numbers(path, info)[:98] == list(range(98))


def test_a_file_that_is_read_in_part_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = make_video(tmp_path / "one.flv", range(60), BASE)
    probe_video(path, tmp_path / "video.json")
    assert caplog.text == ""
    path.write_bytes(path.read_bytes() * 2)
    probe_video(path, tmp_path / "video.json")
    assert "its images end at" in caplog.text


def test_negative_and_late_first_stamps(tmp_path: Path) -> None:
    for first in (-7, 90_000):
        stamps = [first + k for k in range(60)]
        path = make_video(tmp_path / f"{first}.mkv", stamps, BASE)
        info = probe_video(path, tmp_path / "video.json")
        assert (info.n_frames, info.duration) == (60, pytest.approx(2.4, abs=0.01))
        assert numbers(path, info) == list(range(60))


def test_repeated_stamps_are_spread_evenly() -> None:
    assert spread([0, 0, 80, 80, 160], 40) == [0, 40, 80, 120, 160]
    assert spread([0, 0, 0], 30) == [0, 10, 20]


def test_sound_follows_the_pieces() -> None:
    ticks = [0, 40, 80, 100_000, 100_040]
    pieces = Pieces.lay([(0, t) for t in ticks] + [(1, 500), (1, 540)], MS)
    assert [pieces.tick((0, t)) for t in ticks] == [0, 40, 80, 120, 160]
    assert pieces.tick((1, 500)) == 200
    assert pieces.second(0, Fraction(1, 20)) == pytest.approx(0.05)
    assert pieces.second(0, 50.0) is None
    assert pieces.second(0, 100.0) == pytest.approx(0.12)
    assert pieces.second(5, 0.54) == pytest.approx(0.24)
    assert pieces.pauses() == [(0.12, pytest.approx(99.92))]
    assert pieces.recordings() == 2


def test_sound_stays_with_the_images_over_a_pause(tmp_path: Path) -> None:
    path, rate = tmp_path / "paused.mkv", 48000
    stamps = [40 * k for k in range(50)] + [600_000 + 40 * k for k in range(50)]
    with av.open(str(path), "w") as file:
        video = file.add_stream("libx264", rate=25, options={"x264-params": GOP})
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        video.codec_context.time_base = MS
        sound = file.add_stream("pcm_s16le", rate=rate, layout="mono")
        for index, stamp in enumerate(stamps):
            frame = av.VideoFrame.from_ndarray(numbered_image(index), format="rgb24")
            frame.pts, frame.time_base = stamp, MS
            file.mux(video.encode(frame))
            # The sound tells the number of its image.
            block = np.full((1, rate // 25), 200 * index, np.int16)
            heard = av.AudioFrame.from_ndarray(block, format="s16", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = rate, stamp * 48, Fraction(1, rate)
            file.mux(sound.encode(heard))
        file.mux(video.encode(None))
        file.mux(sound.encode(None))
    info = probe_video(path, tmp_path / "video.json")
    assert numbers(path, info) == list(range(100))
    samples, rate = read_sound(path, 10)
    middles = samples[rate // 50 :: rate // 25, 0] * 32768 / 200
    assert np.rint(middles).tolist() == list(range(100))


def test_logs_say_nothing_of_a_plain_clip(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        probe_video(make_video(tmp_path / "a.mp4", range(60), BASE), tmp_path / "video.json")
    assert caplog.text == ""
