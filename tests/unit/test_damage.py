"""A bit that turned: every file that stages exchange is as it was, or one line names it."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from headsplat.frames.crop import Crop
from headsplat.frames.packs import FrameStore, FrameZipWriter
from headsplat.frames.table import FrameRow, read_frames, write_frames
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import (
    publish,
    read_json,
    read_npy,
    read_npz,
    write_json,
    write_npy,
    write_npz,
    write_plain_json,
)
from headsplat.video.info import VideoInfo

NOISE = np.random.default_rng(0)
INFO = VideoInfo(
    path="videos/me.mp4", bytes=4_695_736, sha256="a8" * 32, width=512, height=512, rotation=0,
    source_fps=Fraction(30000, 1001), n_source=9, n_undecodable=1, n_frames=8, duration=0.32,
    pts=list(range(0, 8000, 1001)), keyframes=[0], undecodable=[3], time_base=Fraction(1, 25000),
    audio={"sample_rate": 44100, "channels": 2}, hdr=False,
)  # fmt: skip


def info(path: Path) -> Callable[[], Any]:
    INFO.save(path)
    return lambda: VideoInfo.load(path)


def crop(path: Path) -> Callable[[], Any]:
    Crop(10.5, -3.25, 300.0, 256, 512, 512).save(path)
    return lambda: Crop.load(path)


def empty(path: Path) -> Callable[[], Any]:
    write_json(path, {})
    # A key that became another one is no content that a reader would ask for.
    return lambda: bool(read_json(path).keys() - {"crc32"} and False)


def table(path: Path) -> Callable[[], Any]:
    write_frames(path, [FrameRow(k, k / 25, "ok", 0.75, 1) for k in range(1, 13)])
    return lambda: read_frames(path)


def identity(path: Path) -> Callable[[], Any]:
    write_npy(path, NOISE.normal(size=33).astype(np.float32))
    return lambda: read_npy(path).tobytes()


def arrays(path: Path) -> Callable[[], Any]:
    write_npz(
        path, ids=np.arange(1, 6), points=NOISE.random((5, 3)).astype(np.float32),
        status=np.full(5, "ok"), name=np.array("procedural"),
    )  # fmt: skip
    return lambda: {
        key: (value.tobytes(), value.shape, value.dtype.str)
        for key, value in read_npz(path).items()
    }


def chunk(path: Path) -> Callable[[], Any]:
    with publish(path) as temporary, FrameZipWriter(temporary, ".png") as pack:
        for frame in (9, 10, 100_000):
            for role in ("_mouth", "_neckhead"):
                pack.add(frame, NOISE.bytes(20), role)

    def read() -> Any:
        with FrameStore([path]) as store:
            roles = ("_mouth", "_neckhead")
            return [(i, role, store.read(i, role)) for i in store.ids for role in roles]

    return read


KINDS = (
    ("video.json", info), ("crop.json", crop), ("x.json", empty), ("frames.tsv", table),
    ("identity.npy", identity), ("track.npz", arrays), ("000.zip", chunk),
)  # fmt: skip


def outcome(read: Callable[[], Any]) -> tuple[Any, str | None]:
    """What reading gives, or the line that it ends in."""
    try:
        return read(), None
    except UserError as error:
        return None, str(error)


@pytest.mark.parametrize(("name", "make"), KINDS)
def test_a_bit_that_turned_changes_nothing_or_is_named(
    tmp_path: Path, name: str, make: Callable[[Path], Callable[[], Any]]
) -> None:
    path = tmp_path / name
    read = make(path)
    whole, data = read(), path.read_bytes()
    noticed = 0
    for bit in range(0, 8 * len(data), 3):  # all eight in turn
        turned = bytearray(data)
        turned[bit // 8] ^= 1 << bit % 8
        path.write_bytes(turned)
        found, line = outcome(read)
        if line is None:
            assert found == whole, f"bit {bit} changed the content and was not noticed"
        else:
            noticed += 1
            assert name in line
            assert "\n" not in line
            assert "delete" in line
    # Spare fields of zips may turn as they like.
    assert noticed > len(data) / 2


@pytest.mark.parametrize(("name", "make"), KINDS)
def test_a_file_that_was_cut_has_its_content_or_is_named(
    tmp_path: Path, name: str, make: Callable[[Path], Callable[[], Any]]
) -> None:
    path = tmp_path / name
    read = make(path)
    whole, data = read(), path.read_bytes()
    for length in range(len(data)):
        if name.endswith(".tsv") and b"\n" in data[length - 1 : length + 1]:
            continue  # a table of fewer rows; who joins it with others misses their ids
        path.write_bytes(data[:length])
        found, line = outcome(read)
        assert (found == whole) if line is None else (name in line and "\n" not in line)


def test_a_missing_row_is_noticed(tmp_path: Path) -> None:
    read = table(tmp_path / "frames.tsv")
    lines = (tmp_path / "frames.tsv").read_text().splitlines(keepends=True)
    (tmp_path / "frames.tsv").write_text("".join(lines[:4] + lines[5:]))
    with pytest.raises(
        UserError, match=r"frames.tsv: .*line 2 was changed .*row is missing.*; delete it"
    ):
        read()


def test_other_programs_read_the_files(tmp_path: Path) -> None:
    crop(tmp_path / "crop.json")
    value = json.loads((tmp_path / "crop.json").read_text())
    assert value["side"] == 300.0
    assert read_json(tmp_path / "crop.json").keys() == value.keys() - {"crc32"}
    code = NOISE.normal(size=(3, 2))
    write_npy(tmp_path / "a.npy", code)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), code)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy", mmap_mode="r"), code)


def test_files_of_users_need_no_checksum(tmp_path: Path) -> None:
    code = NOISE.normal(size=(3, 2))
    np.save(tmp_path / "a.npy", code)
    np.testing.assert_array_equal(read_npy(tmp_path / "a.npy"), code)
    write_plain_json(tmp_path / "a.json", {"a": 1})
    assert (tmp_path / "a.json").read_text() == '{\n "a": 1\n}\n'
    assert read_json(tmp_path / "a.json") == {"a": 1}
    (tmp_path / "frames.tsv").write_text("id\ttime\tstatus\tconfidence\tfaces\n1\t0\tok\t1\t1\r\n")
    assert read_frames(tmp_path / "frames.tsv") == [FrameRow(1, 0.0, "ok", 1.0, 1)]
    np.save(tmp_path / "b.npy", np.array([None]), allow_pickle=True)
    with pytest.raises(UserError, match=r"b.npy: cannot be read .*; give a whole file"):
        read_npy(tmp_path / "b.npy")
