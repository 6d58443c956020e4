"""Probing and chunk-wise decoding of many kinds of video."""

import gc
import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from headsplat.runtime.errors import UserError
from headsplat.video.color import HLG, PQ, tone_map
from headsplat.video.decode import read_images
from headsplat.video.probe import probe_video
from tests.unit.video_files import GOP, make_video, number_of, numbered_image

THIRTY = Fraction(1, 30)
OPEN = {"x264-params": GOP + ":open-gop=1"}
KINDS = {
    "closed.mp4": {},
    "open.mp4": {"options": OPEN},
    "open.mkv": {"options": OPEN},
    "open.ts": {"options": OPEN},
    "refresh.mp4": {"options": {"x264-params": "keyint=20:intra-refresh=1:bframes=0"}},
    "odd.mp4": {"size": (161, 121), "pixels": "yuv444p"},
    "old.avi": {"codec": "mpeg4", "options": {"g": "12", "bf": "2"}},
}


def random_images(path: Path, info, first: int, stop: int) -> list[tuple[int, bytes]]:
    return [(k, p.tobytes()) for k, p in read_images(path, info, first, stop)]


@pytest.mark.parametrize("name", KINDS)
def test_chunks_equal_a_pass_over_the_whole(tmp_path: Path, name: str) -> None:
    path = make_video(tmp_path / name, range(90), THIRTY, **KINDS[name])
    info = probe_video(path, tmp_path / "video.json")
    assert (info.n_source, info.n_undecodable, info.n_frames) == (90, 0, 75)
    whole = random_images(path, info, 1, 76)
    assert [k for k, _ in whole] == list(range(1, 76))
    for first in range(1, 76, 6):
        stop = min(first + 6, 76)
        assert random_images(path, info, first, stop) == whole[first - 1 : stop - 1]


def test_images_are_the_ones_nearest_in_time(tmp_path: Path) -> None:
    steps = np.random.default_rng(5).integers(8, 70, 80)
    stamps = [int(t) for t in np.cumsum(steps) + 500]
    path = make_video(tmp_path / "vfr.mkv", stamps, Fraction(1, 1000))
    info = probe_video(path, tmp_path / "video.json")
    for frame_id, image in read_images(path, info, 1, info.n_frames + 1):
        time = stamps[0] + 40 * (frame_id - 1)
        shown = stamps[number_of(image)]
        assert abs(shown - time) == min(abs(stamp - time) for stamp in stamps)


def test_late_start_moves_time_zero(tmp_path: Path) -> None:
    path = make_video(tmp_path / "late.mp4", range(45, 135), THIRTY)
    info = probe_video(path, tmp_path / "video.json")
    assert info.duration == 3
    assert number_of(next(read_images(path, info, 1, 2))[1]) == 0


def test_images_that_the_edit_list_hides_are_not_there(tmp_path: Path) -> None:
    path = make_video(tmp_path / "trimmed.mp4", range(105), THIRTY)
    data = bytearray(path.read_bytes())
    at = data.find(b"elst") + 12
    length, start = struct.unpack(">Ii", data[at : at + 8])
    data[at : at + 8] = struct.pack(">Ii", length - 500, start + 15 * 512)
    path.write_bytes(data)
    info = probe_video(path, tmp_path / "video.json")
    assert (info.n_source, info.n_undecodable, info.n_frames) == (90, 0, 75)
    whole = random_images(path, info, 1, 76)
    assert number_of(next(read_images(path, info, 1, 2))[1]) == 15
    assert number_of(next(read_images(path, info, 51, 52))[1]) == 75
    assert random_images(path, info, 30, 40) == whole[29:39]


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", range(300), THIRTY, size=(640, 480))
    info = probe_video(path, tmp_path / "video.json")

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    gc.disable()
    try:
        sizes = [resident() for _ in read_images(path, info, 1, info.n_frames + 1)]
    finally:
        gc.enable()
    assert max(sizes) - sizes[20] < 60e6


@pytest.mark.parametrize(
    ("matrix", "rotation"),
    [((0, 1, -1, 0), 270), ((-1, 0, 0, -1), 180), ((0, -1, 1, 0), 90), ((-1, 0, 0, 1), 0)],
)
def test_display_matrix_is_applied(tmp_path: Path, matrix: tuple, rotation: int) -> None:
    path = make_video(tmp_path / "turned.mp4", range(90), THIRTY)
    data = bytearray(path.read_bytes())
    at = data.find(b"tkhd") + 44
    a, b, c, d = (value << 16 for value in matrix)
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    info = probe_video(path, tmp_path / "video.json")
    assert info.rotation == rotation
    assert (info.width, info.height) == ((120, 160) if rotation % 180 else (160, 120))
    image = next(read_images(path, info, 76 - 1, 76))[1]
    stored = {270: np.rot90(image), 180: image[::-1, ::-1], 90: np.rot90(image, -1)}
    assert number_of(stored.get(rotation, image[:, ::-1])) == 89


def test_damaged_images_inside_are_listed_and_replaced(tmp_path: Path) -> None:
    path = make_video(tmp_path / "hurt.mp4", range(90), THIRTY, size=(320, 240))
    with av.open(str(path)) as file:
        packet = [p for p in file.demux(video=0) if p.size][50]
        at, size, stamp = packet.pos, packet.size, packet.pts
    data = bytearray(path.read_bytes())
    data[at + 5 : at + size] = bytes(size - 5)
    path.write_bytes(data)
    info = probe_video(path, tmp_path / "video.json")
    assert info.n_undecodable >= 1
    assert info.n_frames == 75
    assert stamp not in info.pts
    hit = [k for k in range(1, 76) if abs((k - 1) / 25 - stamp * info.time_base) < 1 / 100]
    assert set(hit) <= set(info.undecodable)
    whole = random_images(path, info, 1, 76)
    assert random_images(path, info, 40, 60) == whole[39:59]


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_hdr_is_seen_and_mapped(tmp_path: Path, transfer: int) -> None:
    path = make_video(
        tmp_path / "hdr.mp4", range(60), THIRTY, pixels="yuv420p10le", transfer=transfer
    )
    info = probe_video(path, tmp_path / "video.json")
    assert info.hdr
    for frame_id, image in read_images(path, info, 1, 10):
        assert image.dtype == np.uint8
        assert number_of(image) == number_of(numbered_image(round((frame_id - 1) * 1.2)))


def test_tone_curve() -> None:
    def pq(nits: float) -> int:
        y = (nits / 10000) ** (2610 / 16384)
        top, bottom = 3424 / 4096 + 2413 / 128 * y, 1 + 2392 / 128 * y
        return round(65535 * (top / bottom) ** (2523 / 32))

    levels = [0.0, 203 * 0.18, 203 * 0.6, 203.0, 1000.0, 4000.0]
    gray = np.array([[[pq(n)] * 3 for n in levels]], np.uint16)
    out = tone_map(gray, PQ)[0].astype(int)
    assert (np.ptp(out, axis=1) <= 1).all()
    assert out[0, 0] == 0
    assert abs(out[1, 0] - 255 * 0.18 ** (1 / 2.4)) <= 1
    assert abs(out[2, 0] - 255 * 0.6 ** (1 / 2.4)) <= 1
    assert 230 < out[3, 0] < 250 < out[4, 0] <= out[5, 0]


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", range(90), THIRTY)
    info = probe_video(path, tmp_path / "video.json")
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match="changed since it was probed"):
        next(read_images(path, info, 1, 2))
