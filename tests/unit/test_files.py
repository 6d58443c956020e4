"""Atomic writing of files, removal of temporary files, and messages for file system errors."""

import errno
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from headsplat.frames.packs import FrameStore, FrameZipWriter
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import (
    publish,
    publish_folder,
    read_json,
    read_npz,
    write_json,
    write_npz,
)
from headsplat.runtime.storage import require_room, storage_error, unreadable
from headsplat.video.encode import VideoWriter
from tests.conftest import PYTHON_PATH
from tests.disks import small_disk  # noqa: F401 - a fixture

NOISE = np.random.default_rng(0)


def test_publishes_a_whole_file_and_leaves_no_other(tmp_path: Path) -> None:
    with publish(tmp_path / "new" / "a.txt") as temporary:
        temporary.write_text("whole")
        assert temporary.suffix == ".txt"
        assert not (tmp_path / "new" / "a.txt").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.txt"]
    assert (tmp_path / "new" / "a.txt").read_text() == "whole"


def test_an_exception_keeps_the_previous_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("before")

    def broken() -> None:
        with publish(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        broken()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "before"


@pytest.mark.parametrize("write", [publish, publish_folder])
def test_devices_and_pipes_are_not_replaced(tmp_path: Path, write: Callable) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    # Not /dev/null, which a failure of this test would destroy for the whole machine.
    for path in (tmp_path / "pipe", tmp_path / "link", Path("/dev/headsplat.tmp")):
        with pytest.raises(UserError, match="is a device, pipe or socket"), write(path):
            pass
    assert (tmp_path / "pipe").is_fifo()
    assert (tmp_path / "link").is_symlink()


def test_a_folder_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    message = "a.txt: is a folder; remove it"
    with pytest.raises(UserError, match=message), publish(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc")
def test_a_place_that_takes_no_folder_is_named() -> None:
    with pytest.raises(UserError, match="/proc/no is no folder"), publish("/proc/no/a.txt"):
        pass


def test_npz_is_what_numpy_writes(tmp_path: Path) -> None:
    arrays = {"a": NOISE.random((3, 4)).astype(np.float32), "fortran": NOISE.random((5, 2)).T}
    arrays |= {"name": np.array("procedural"), "number": np.array(7)}
    write_npz(tmp_path / "ours.npz", **arrays)
    with open(tmp_path / "numpy.npz", "wb") as handle:
        np.savez(handle, **arrays)
    assert (tmp_path / "ours.npz").read_bytes() == (tmp_path / "numpy.npz").read_bytes()
    for key, value in read_npz(tmp_path / "ours.npz").items():
        np.testing.assert_array_equal(value, arrays[key])


def test_the_next_writer_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    writer = (
        "import sys, time; from headsplat.runtime.files import publish, publish_folder\n"
        "with publish(sys.argv[1] + '/a.npz') as a, publish_folder(sys.argv[1] + '/b') as b:\n"
        "    a.write_text('half'); (b / 'c').write_text('half'); print('ready', flush=True)\n"
        "    time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", writer, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": PYTHON_PATH},
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    process.wait()
    process.stdout.close()
    left = {f".a.{process.pid}.tmp.npz", f".b.{process.pid}.tmp"}
    assert {path.name for path in tmp_path.iterdir()} == left

    # Temporary files of other files have similar names.
    strangers = [f".a.b.{process.pid}.tmp.npz", f".a.{process.pid}.tmp.zip", ".a.x.tmp.npz"]
    for name in strangers:
        (tmp_path / name).touch()
    write_npz(tmp_path / "a.npz", x=np.zeros(3))
    with publish_folder(tmp_path / "b") as folder:
        (folder / "c").write_text("whole")
    assert {path.name for path in tmp_path.iterdir()} == {"a.npz", "b", *strangers}
    assert (tmp_path / "b" / "c").read_text() == "whole"


def test_a_job_that_was_replaced_cannot_publish(tmp_path: Path) -> None:
    def given_up() -> None:
        with publish(tmp_path / "a.txt") as temporary:
            temporary.write_text("late")
            # The replacing job on another machine has another process id.
            temporary = temporary.rename(tmp_path / ".a.1.tmp.txt")
            write_in_another_process(tmp_path / "a.txt", "current")

    with pytest.raises(FileNotFoundError):
        given_up()
    assert (tmp_path / "a.txt").read_text() == "current"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def write_in_another_process(path: Path, text: str) -> None:
    code = (
        "import sys; from headsplat.runtime.files import publish\n"
        "with publish(sys.argv[1]) as temporary: temporary.write_text(sys.argv[2])"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(path), text],
        env={**os.environ, "PYTHONPATH": PYTHON_PATH},
        check=True,
    )


def zip_of_frames(folder: Path) -> Path:
    with publish(folder / "x.zip") as temporary, FrameZipWriter(temporary, ".png") as pack:
        for frame in range(40):
            pack.add(frame, NOISE.bytes(100_000))
    return folder / "x.zip"


def video(folder: Path) -> Path:
    with VideoWriter(folder / "x.mp4", 320, 320, 25, crf=1) as writer:
        for _ in range(40):
            writer.write(NOISE.integers(0, 255, (320, 320, 3), np.uint8))
    return folder / "x.mp4"


def state(folder: Path) -> Path:
    with publish(folder / "x.pt") as temporary:
        torch.save({"a": torch.zeros(1_000_000)}, temporary)
    return folder / "x.pt"


def arrays(folder: Path) -> Path:
    write_npz(folder / "x.npz", a=NOISE.random(400_000))
    return folder / "x.npz"


def values(folder: Path) -> Path:
    write_json(folder / "x.json", list(range(500_000)))
    return folder / "x.json"


def files(folder: Path) -> Path:
    with publish_folder(folder / "x") as inside:
        for number in range(40):
            (inside / str(number)).write_bytes(NOISE.bytes(100_000))
    return folder / "x"


WRITERS = (zip_of_frames, video, state, arrays, values, files)


@pytest.mark.parametrize("write", WRITERS)
def test_a_full_disk_ends_in_one_line(
    small_disk: Path,  # noqa: F811
    write: Callable[[Path], Path],
) -> None:
    folder = small_disk / "out"
    with pytest.raises(UserError, match=r"out/x.*: the disk is full; free some space") as caught:
        write(folder)
    assert "\n" not in str(caught.value)
    assert list(folder.iterdir()) == [], "half a file is left"


@pytest.mark.parametrize("write", WRITERS)
def test_a_folder_that_is_read_only_ends_in_one_line(
    small_disk: Path,  # noqa: F811
    write: Callable[[Path], Path],
) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    for folder in (small_disk, small_disk / "new"):
        with pytest.raises(UserError, match=r"disk.*: read-only file system; give this user"):
            write(folder)
    assert list(small_disk.iterdir()) == []


def test_a_file_size_limit_ends_in_one_line(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys, numpy as np; from pathlib import Path\n"
        "from headsplat_workflow.stage import stage\n"
        "from headsplat.runtime.files import write_npz\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "stage(lambda: write_npz(sys.argv[1], a=np.zeros(100_000)))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.npz")],
        env={**os.environ, "PYTHONPATH": PYTHON_PATH},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith(f"error: {tmp_path / 'a.npz'}: larger than a file may be here")
    assert list(tmp_path.iterdir()) == []


def test_only_refused_writes_are_storage_errors() -> None:
    assert storage_error(ValueError("a bug")) is None
    assert storage_error(FileNotFoundError(errno.ENOENT, "gone", "a.npz")) is None
    denied = PermissionError(errno.EACCES, "denied", "input.mp4")
    assert str(storage_error(denied, "work/out.npz")).startswith("input.mp4: permission denied")
    own = OSError(errno.ENOSPC, "full", "work/.out.12.tmp.npz")
    assert str(storage_error(own, "work/out.npz")).startswith("work/out.npz: the disk is full")


def test_temporary_files_of_other_writers_are_ignored(tmp_path: Path) -> None:
    left = tmp_path / ".a.1.tmp.txt"
    left.write_text("half")
    later = time.time() + 10 * 365 * 86400
    os.utime(left, (later, later))
    with publish(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_free_space_is_checked_before_a_run(
    small_disk: Path,  # noqa: F811
) -> None:
    require_room([small_disk, small_disk / "work" / "new"])
    (small_disk / "filler").write_bytes(bytes(1_500_000))
    with pytest.raises(UserError, match=r"new: the disk is full"):
        require_room([small_disk / "work" / "new"])
    (small_disk / "filler").unlink()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(UserError, match=r"disk: read-only file system"):
        require_room([small_disk])


def test_messages_never_advise_to_delete_an_undamaged_file(tmp_path: Path) -> None:
    for number, fix in (
        (errno.EMFILE, "raise the limit (ulimit -n)"),
        (errno.ENOMEM, "run fewer jobs at once"),
        (errno.EACCES, "give this user access to it"),
        (errno.EIO, "check the disk or volume"),
        (errno.ESTALE, "mount its file system again"),
        (errno.ENOTCONN, "mount its file system again"),
        (errno.ENOENT, "let the same command make it"),
        (errno.ELOOP, "fix that"),
    ):
        line = str(unreadable(OSError(number, "x", "a.npz"), "a.npz", "not a zip"))
        assert line.startswith("a.npz: ")
        assert fix in line
        assert "delete" not in line
    assert "run fewer jobs" in str(unreadable(MemoryError(), "a.npz", "not a zip"))
    assert "a.npz: not a zip; delete it" in str(unreadable(ValueError(), "a.npz", "not a zip"))
    # A file whose first bytes cannot be read, as on a broken disk.
    (tmp_path / "a.json").symlink_to("/proc/self/mem")
    with pytest.raises(UserError, match=r"a.json: input/output error; check the disk"):
        read_json(tmp_path / "a.json")


def packed(path: Path, members: dict[str, bytes], comment: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.comment = comment
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return path


def test_ids_may_have_more_than_five_digits(tmp_path: Path) -> None:
    ids = (1, 99_999, 100_000, 123_456, 2_000_000)
    with publish(tmp_path / "0.zip") as temporary, FrameZipWriter(temporary, ".png") as pack:
        for frame in ids:
            pack.add(frame, b"%d" % frame)
            pack.add(frame, b"mouth %d" % frame, "_mouth")
    with FrameStore([tmp_path / "0.zip"]) as store:
        assert store.ids == list(ids)
        assert [store.read(i) for i in ids] == [b"%d" % i for i in ids]
        assert store.read(100_000, "_mouth") == b"mouth 100000"


def test_chunks_without_a_checksum_of_their_list_stay_valid(tmp_path: Path) -> None:
    path = packed(tmp_path / "0.zip", {"00001.jpg": b"a", "00002_mouth.png": b"b"})
    with FrameStore([path]) as store:
        assert store.read(1) == b"a"
        assert store.read(2, "_mouth") == b"b"


@pytest.mark.parametrize(
    "name",
    ["notes.txt", "1.jpg", "000001.jpg", "__MACOSX/00001.jpg", "-0001.jpg", "0000a.jpg", "00001",
     "9" * 5000 + ".jpg", "99999999999.jpg", "٠٠٠٠١.jpg", "00001/", "a\nb.jpg", "00002.jpg"],
)  # fmt: skip
def test_unexpected_zip_members_are_named(tmp_path: Path, name: str) -> None:
    path = packed(tmp_path / "0.zip", {"00002.png": b"a", name: b"b"})
    with pytest.raises(UserError, match=r"0.zip: holds .*delete") as caught:
        FrameStore([path])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_members_that_are_not_stored_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "0.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("00001.jpg", bytes(10**6))
    with pytest.raises(UserError, match=r"0.zip: holds '00001.jpg', which is not an image"):
        FrameStore([tmp_path / "0.zip"])


def test_a_comment_of_another_program_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"0.zip: .*list of members is damaged.*delete it"):
        FrameStore([packed(tmp_path / "0.zip", {"00001.jpg": b"a"}, b"crc32 00000000")])


def test_more_chunks_than_files_may_be_open(tmp_path: Path) -> None:
    paths = [tmp_path / f"{chunk:04d}.zip" for chunk in range(300)]
    for chunk, path in enumerate(paths):
        packed(path, {f"{2 * chunk + k:05d}.jpg": b"%d" % (2 * chunk + k) for k in (1, 2)})
    code = (
        "import resource, sys; from concurrent.futures import ThreadPoolExecutor\n"
        "from headsplat.frames.packs import FrameStore\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]),) * 2)\n"
        "from headsplat_workflow.stage import stage\n"
        "def main():\n"
        "    with FrameStore(sys.argv[2:]) as store, ThreadPoolExecutor(4) as pool:\n"
        "        ids = [k for start in range(7) for k in store.ids[start::7]]\n"
        "        read = list(pool.map(store.read, ids))\n"
        "        assert read == [b'%d' % k for k in ids]; print(len(ids))\n"
        "stage(main)\n"
    )

    def run(limit: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", code, str(limit), *map(str, paths)],
            env={**os.environ, "PYTHONPATH": PYTHON_PATH},
            capture_output=True,
            text=True,
        )

    result = run(128)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "600\n"
    result = run(40)
    assert result.returncode == 1
    assert "too many open files; raise the limit (ulimit -n)" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert "delete" not in result.stderr


def test_a_damaged_image_of_a_chunk_is_named(tmp_path: Path) -> None:
    path = tmp_path / "000.zip"
    with publish(path) as temporary, FrameZipWriter(temporary, ".png") as pack:
        for frame in (1, 2):
            pack.add(frame, NOISE.bytes(1000))
    data = bytearray(path.read_bytes())
    data[500] ^= 1
    path.write_bytes(data)
    with FrameStore([path]) as store:
        assert len(store.read(2)) == 1000
        with pytest.raises(UserError, match=r"000.zip: damaged at 00001.png .*; delete it"):
            store.read(1)


def test_a_name_with_a_nul_character_is_refused(tmp_path):
    with (
        pytest.raises(UserError, match="is not the name of a file"),
        publish(tmp_path / "a\0b.txt"),
    ):
        pass
    assert not list(tmp_path.iterdir())
