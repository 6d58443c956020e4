"""Safe opening of video files: URLs, playlists, patterns and devices are not followed."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest

from headsplat_workflow.doctor.requirements import clip_frames
from headsplat_workflow.subjects import Subject

from headsplat.runtime.errors import UserError
from headsplat.video.container import MAX_PIXELS, open_media, packets
from headsplat.video.decode import read_images
from headsplat.video.encode import VideoWriter
from headsplat.video.join import join_videos
from headsplat.video.probe import probe_video
from headsplat.video.sound import read_sound
from tests.conftest import ROOT
from tests.unit.video_files import make_video, number_of, numbered_image

BASE = Fraction(1, 25)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_video(tmp_path / "clip.mp4", range(60), BASE)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        yield server


def nobody_came(server: socket.socket) -> bool:
    try:
        server.accept()
    except TimeoutError:
        return True
    return False


@pytest.mark.parametrize(
    "name",
    [
        "tcp:127.0.0.1:{}",
        "12:30.mp4",
        "file:clip.mp4",
        "%03d.mp4",
        "a%d.jpg",
        "concat:a|b.mp4",
        "-",
    ],
)
def test_urls_and_patterns_in_names_are_not_interpreted(
    clip: Path, tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    name = name.format(listener.getsockname()[1])
    clip.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    info = probe_video(name, "video.json")
    assert (info.n_frames, number_of(next(read_images(name, info, 31, 32))[1])) == (60, 30)
    assert read_sound(name, 1) is None
    assert clip_frames({"a": Subject("a", name)}, 1) == [pytest.approx(60, abs=1)]
    assert nobody_came(listener)


def test_videos_are_written_under_any_name(
    tmp_path: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = Path(f"tcp:127.0.0.1:{listener.getsockname()[1]}.mp4")
    with VideoWriter(name, 160, 120, 25) as writer:
        for index in range(60):
            writer.write(numbered_image(index))
    join_videos([name, name], Path("12:30.mp4"), 25)
    assert probe_video("12:30.mp4", "video.json").n_frames == 120
    assert nobody_came(listener)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.m3u8", "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n"),
        ("list.mp4", "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:3,\n{}\n#EXT-X-ENDLIST\n"),
        ("list.ffconcat", "ffconcat version 1.0\nfile {}\n"),
        ("list.txt", "ffconcat version 1.0\nfile {}\n"),
        ("list.sdp", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
         "m=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"),
    ],
)  # fmt: skip
def test_playlists_are_refused(clip: Path, name: str, content: str) -> None:
    path = clip.with_name(name)
    path.write_text(content.format(clip.name))
    for read in (lambda: probe_video(path, clip.with_name("o.json")), lambda: read_sound(path, 1)):
        with pytest.raises(
            UserError, match="not a video that can be opened|the sound cannot be read"
        ) as caught:
            read()
        assert "\n" not in str(caught.value)


def test_pipes_folders_and_empty_files_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "empty.mp4").touch()
    for name, words in (
        ("pipe.mp4", "not a regular file"),
        ("folder.mp4", "directory"),
        ("empty.mp4", "the file is empty"),
        ("none.mp4", "no such file"),
    ):
        for read in (probe_video, read_sound):
            with pytest.raises(UserError, match=words):
                read(tmp_path / name, tmp_path / "o.json" if read is probe_video else 1)
    with pytest.raises(UserError, match="not a regular file"), open_media("/dev/zero"):
        pass


def test_a_pipe_ends_the_script_with_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    script = ROOT / "workflow_scripts" / "probe_video.py"
    run = subprocess.run(
        [sys.executable, script, "--video", tmp_path / "pipe.mp4", "--out", tmp_path / "o.json"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "size"),
    [
        ("a.gif", "gif", "rgb8", (160, 120)),
        ("a.apng", "apng", "rgb24", (160, 120)),
        ("gray.mkv", "ffv1", "gray", (160, 120)),
        ("gray10.mkv", "ffv1", "gray10le", (160, 120)),
        ("alpha.mkv", "ffv1", "yuva420p", (160, 120)),
        ("palette.mov", "qtrle", "argb", (160, 120)),
        ("alpha.mov", "png", "rgba", (160, 120)),
        ("odd.mkv", "ffv1", "yuv420p", (161, 121)),
        ("whole.avi", "mjpeg", "yuvj420p", (160, 120)),
    ],
)
def test_pixel_formats(
    tmp_path: Path, name: str, codec: str, pixels: str, size: tuple[int, int]
) -> None:
    path = make_video(tmp_path / name, range(60), BASE, codec, pixels, {}, size, rate=25)
    info = probe_video(path, tmp_path / "video.json")
    assert ((info.width, info.height), info.n_source) == (size, 60)
    assert info.n_frames == pytest.approx(60, abs=1)
    shown = [number_of(image) for _, image in read_images(path, info, 20, 30)]
    assert shown == pytest.approx(range(19, 29), abs=1)


def test_one_pixel_images_are_refused(tmp_path: Path) -> None:
    path = make_video(tmp_path / "dot.mkv", range(60), BASE, "ffv1", "gray", {}, (1, 1))
    with pytest.raises(UserError, match="images of 1 x 1 pixels; at least 64 x 64"):
        probe_video(path, tmp_path / "video.json")


def test_too_large_images_are_refused(tmp_path: Path) -> None:
    path = make_video(tmp_path / "huge.gif", range(60), BASE, "gif", "rgb8", {})
    data = bytearray(path.read_bytes())
    data[6:10] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    with pytest.raises(UserError, match="images are too large|at most 64 megapixels"):
        probe_video(path, tmp_path / "video.json")
    assert MAX_PIXELS == 64 << 20


def test_wrong_duration_in_the_header_is_ignored(tmp_path: Path) -> None:
    path = make_video(tmp_path / "long.mkv", [0, 10**10], Fraction(1, 1000))
    assert clip_frames({"a": Subject("a", str(path))}, 1)[0] < 1000


def test_stream_that_begins_in_the_middle_of_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = make_video(tmp_path / "first.ts", range(0, 90 * 3600, 3600), Fraction(1, 90000))
    second = tmp_path / "second.ts"
    with_other_numbers(first, second)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    info = probe_video(joined, tmp_path / "v.json")
    assert info.n_frames == 90
    assert "end at" in caplog.text


def with_other_numbers(source: Path, path: Path) -> None:
    """Remux the images of `source` with another stream number, and add a second stream."""
    with (
        av.open(str(source)) as read,
        av.open(str(path), "w", options={"mpegts_start_pid": "768"}) as file,
    ):
        streams = [file.add_stream_from_template(read.streams.video[0]) for _ in range(2)]
        for packet in read.demux(read.streams.video[0]):
            if packet.dts is None:
                continue
            for stream in streams:
                packet.stream = stream
                file.mux(packet)


def test_pyav_raises_index_error_after_the_last_packet() -> None:
    class Container:
        def demux(self, *streams: object) -> Iterator[int]:
            yield 1
            raise IndexError("list index out of range")

    assert list(packets(Container())) == [1]
