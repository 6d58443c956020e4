"""The number of chunks before anything ran: by headers, sizes and files, whatever is in them."""

import struct
from fractions import Fraction

import pytest

from headsplat_workflow.clip_length import MOST, chunk_count, clip_seconds
from headsplat_workflow.subjects import Subject

from headsplat.frames.ids import chunk_bounds
from headsplat.video.duration import stated_seconds
from tests.unit.video_files import make_video


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "webm"])
def test_the_header_states_what_was_encoded(tmp_path, suffix):
    codec = "libvpx-vp9" if suffix == "webm" else "libx264"
    options = {} if suffix == "webm" else None
    file = make_video(tmp_path / f"a.{suffix}", range(75), Fraction(1, 25), codec, options=options)
    assert stated_seconds(file) == pytest.approx(3, abs=0.1)


def test_the_index_may_lie_behind_the_images_and_be_cut_off(tmp_path):
    file = make_video(tmp_path / "a.mp4", range(75), Fraction(1, 25))
    data = file.read_bytes()
    assert data.index(b"mdat") < data.index(b"moov")  # as phones write them
    file.write_bytes(data[: data.index(b"moov")])
    assert stated_seconds(file) is None


def box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def movie(form: str, *values: int) -> bytes:
    return box(b"moov", box(b"trak", b"") + box(b"mvhd", struct.pack(form, *values)))


@pytest.mark.parametrize(
    ("data", "seconds"),
    [
        (movie(">B3xIIII", 0, 1, 2, 600, 1800) + bytes(5000), 3),
        (movie(">B3xQQIQ", 1, 1, 2, 600, 1800) + bytes(5000), 3),
        (movie(">B3xQQIQ", 1, 1, 2, 600, 1800), None),  # three seconds in so few bytes
        (movie(">B3xIIII", 0, 1, 2, 600, 0xFFFFFFFF) + bytes(5000), None),  # not known
        (movie(">B3xIIII", 0, 1, 2, 0, 1800) + bytes(5000), None),
        (movie(">B3xIIII", 0, 1, 2, 600, 0) + bytes(5000), None),  # in fragments
        (box(b"ftyp", b"") * 100_000, None),
        (struct.pack(">I4s", 1, b"moov"), None),
        (b"\x1a\x45\xdf\xa3", None),
        (b"\x1a\x45\xdf\xa3" + b"\xff" * 100, None),
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff\x15\x49\xa9\x66\x8b\x44\x89\x88" + b"\x7f" * 8,
         None),
        # A length that claims more bytes than there are.
        (b"\x1a\x45\xdf\xa3\x80\x18\x53\x80\x67\xff\x15\x49\xa9\x66\x8c\x44\x89\x01" + b"\x7f" * 9,
         None),
        (b"\0" * 50, None),
        (b"", None),
    ],
)  # fmt: skip
def test_broken_headers_state_nothing(tmp_path, data, seconds):
    (tmp_path / "a.mp4").write_bytes(data)
    assert stated_seconds(tmp_path / "a.mp4") == seconds


def test_what_is_no_file_states_nothing(tmp_path):
    assert stated_seconds(tmp_path / "none.mp4") is None
    assert stated_seconds(tmp_path) is None


def test_the_length_of_a_clip(tmp_path):
    assert clip_seconds(Subject("me", "builtin"), 12) == 12
    row = Subject("me", str(tmp_path / "a.avi"))
    assert clip_seconds(row, 12) == 0
    (tmp_path / "a.avi").write_bytes(bytes(1_000_000))
    assert clip_seconds(row, 12) == 1_000_000 / 5000 / 25
    (tmp_path / "theirs/images").mkdir(parents=True)
    for number in range(100):
        (tmp_path / f"theirs/images/{number}.png").touch()
    row = Subject("me", kind="vhap", folder=str(tmp_path / "theirs"))
    assert clip_seconds(row, 12) == 4


@pytest.mark.parametrize(
    ("seconds", "chunks"),
    [(0, 4), (12, 4), (16, 4), (30, 8), (64, 16), (900, 16), (3600, 60), (1e9, MOST)],
)
def test_chunks_follow_the_length(seconds, chunks):
    assert chunk_count("auto", seconds) == chunks
    assert chunk_count(7, seconds) == 7


@pytest.mark.parametrize(("frames", "chunks"), [(400, 4), (3, 16), (1, 1), (1001, 16)])
def test_chunks_share_out_the_frames(frames, chunks):
    bounds = [chunk_bounds(frames, chunks, chunk) for chunk in range(chunks)]
    assert [k for first, stop in bounds for k in range(first, stop)] == list(range(1, frames + 1))
    sizes = [stop - first for first, stop in bounds]
    assert max(sizes) - min(sizes) <= 1
