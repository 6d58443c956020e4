"""Faults of disks, files and clocks: one clear line, no partial files, and a run that resumes."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from headsplat.frames.packs import FrameStore
from headsplat.runtime.files import read_json
from tests.disks import mounted
from tests.slow.chaos import environment, leftovers
from tests.workflow.conftest import Checkout, finished  # noqa: F401 - a fixture

FRAMES = 75
EXPORT = "results/demo/checkpoint"  # the fastest output that is a folder
CROPS = "work/me/frames/000.zip"  # the first stage that reads a user's video
YEAR = 365 * 86400.0


@pytest.fixture
def copy(finished: Checkout, tmp_path: Path) -> Checkout:  # noqa: F811
    """A copy of a finished run, to be damaged."""
    folder = tmp_path / "headsplat"
    shutil.copytree(finished.folder, folder, symlinks=True, copy_function=shutil.copy2)
    return Checkout(folder)


@pytest.fixture
def own_video(copy: Checkout) -> Checkout:
    """A copy with a subject `me` that has a video and no outputs."""
    (copy.folder / "videos").mkdir()
    shutil.copy(copy.folder / "work/builtin/demo.mp4", copy.folder / "videos/me.mp4")
    row = "me\tvideos/me.mp4\tprocedural\tpreview"
    (copy.folder / "config/subjects.tsv").write_text(f"subject\tvideo\thead\tpreset\n{row}\n")
    return copy


def fails(checkout: Checkout, *arguments: str, message: str) -> None:
    """Run; it must fail, print `message` on a line of its own, and leave no partial files."""
    result = checkout.snakemake(*arguments)
    said = result.stdout + result.stderr
    assert result.returncode != 0, said
    errors = {line.strip() for line in said.splitlines() if line.strip().startswith("error: ")}
    assert len(errors) == 1, said
    assert message in errors.pop(), said
    assert "Traceback" not in said.replace("--- Logging error ---\nTraceback", ""), said
    assert leftovers(checkout.folder) == []


def finishes(checkout: Checkout, *arguments: str) -> None:
    """Run the command again; it must succeed and leave nothing to do."""
    result = checkout.snakemake(*arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    assert checkout.planned(*arguments) == {}
    assert leftovers(checkout.folder) == []


def once_there(path: Path, act: Callable[[], object]) -> threading.Thread:
    """Call `act` as soon as a run creates `path`."""

    def wait() -> None:
        end = time.monotonic() + 120
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.005)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def fill(folder: Path) -> Path:
    """Fill the disk of `folder` with one file."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as handle:
        try:
            while handle.write(bytes(4096)):
                pass
        except OSError:
            pass
    return filler


def test_full_disk_of_the_results(copy: Checkout) -> None:
    dataset = "results/demo/dataset"
    shutil.rmtree(copy.folder / "results")
    with mounted(copy.folder / "results", 1.1) as disk:
        fails(copy, dataset, message=f"{dataset}: the disk is full; free some space")
        assert not (copy.folder / dataset).exists()
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        finishes(copy, dataset)
        assert len(list((disk / "demo/dataset/imgs").iterdir())) == FRAMES


def test_full_disk_of_the_working_folder(
    finished: Checkout,  # noqa: F811
    tmp_path: Path,
) -> None:
    size = sum(path.stat().st_blocks * 512 for path in finished.folder.rglob("*"))
    with mounted(tmp_path / "disk", size / 2**20 + 16) as disk:
        copy = Checkout(disk / "headsplat")
        shutil.copytree(finished.folder, copy.folder, symlinks=True, copy_function=shutil.copy2)
        shutil.rmtree(copy.folder / EXPORT)
        filler = fill(disk)
        fails(copy, EXPORT, message="the disk is full; free some space")
        assert not (copy.folder / EXPORT).exists()
        filler.unlink()
        finishes(copy, EXPORT)


def test_full_disk_while_snakemake_writes_its_records(own_video: Checkout) -> None:
    folder, probed = own_video.folder, "work/me/video.json"
    kept = folder / ".snakemake"
    kept.rename(folder / "kept")
    with mounted(kept, 16) as disk:
        shutil.copytree(folder / "kept", disk, dirs_exist_ok=True)
        thread = once_there(folder / "logs/me/probe_video.log", lambda: fill(disk))
        result = own_video.snakemake(probed)
        thread.join()
        assert result.returncode != 0
        assert "No space left on device" in result.stdout + result.stderr
        (disk / "filler").unlink()
        finishes(own_video, probed)


def test_read_only_results(copy: Checkout) -> None:
    shutil.rmtree(copy.folder / "results")
    with mounted(copy.folder / "results", 64) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        fails(copy, EXPORT, message="results: read-only file system; give this user access")
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        finishes(copy, EXPORT)


def test_video_removed_during_a_run(own_video: Checkout) -> None:
    video, away = own_video.folder / "videos/me.mp4", own_video.folder / "videos/away.mp4"
    thread = once_there(own_video.folder / "work/me/video.json", lambda: video.rename(away))
    result = own_video.snakemake(CROPS)
    thread.join()
    assert result.returncode != 0
    assert "videos/me.mp4" in result.stderr
    fails(own_video, CROPS, message="the video 'videos/me.mp4' of 'me' is not there")
    away.rename(video)
    finishes(own_video, CROPS)


def test_video_replaced_by_an_older_one_during_a_run(own_video: Checkout) -> None:
    video = own_video.folder / "videos/me.mp4"
    other = own_video.folder / "videos/other.mp4"
    other.write_bytes(video.read_bytes() + bytes(1000))  # players ignore bytes after an mp4
    os.utime(other, (0, 0))
    thread = once_there(own_video.folder / "work/me/video.json", lambda: other.replace(video))
    fails(own_video, CROPS, message="videos/me.mp4: missing or changed since it was probed")
    thread.join()
    finishes(own_video, CROPS)
    assert read_json(own_video.folder / "work/me/video.json")["bytes"] == video.stat().st_size


def test_video_dated_2038(own_video: Checkout) -> None:
    video = own_video.folder / "videos/me.mp4"
    later = time.time() + 12 * YEAR
    os.utime(video, (later, later))
    fails(own_video, CROPS, message="videos/me.mp4: dated 20")
    assert not (own_video.folder / "work/me").exists()
    video.touch()
    finishes(own_video, CROPS)


def test_truncated_output_is_named_and_remade(copy: Checkout) -> None:
    """As after another program's crash or a bad copy: under its final name, and newer."""
    damaged = copy.folder / "work/demo/frames/001.zip"
    os.truncate(damaged, 5000)
    fails(copy, "work/demo/alpha/001.zip", message="work/demo/frames/001.zip: not a readable zip")
    damaged.unlink()
    finishes(copy, "work/demo/alpha/001.zip")
    with FrameStore([damaged]) as store:
        assert store.ids[-1] == FRAMES


def test_damaged_image_is_named(copy: Checkout) -> None:
    damaged = copy.folder / "work/demo/frames/001.zip"
    with open(damaged, "r+b") as handle:
        handle.seek(2000)
        handle.write(bytes(500))
    fails(copy, "work/demo/alpha/001.zip", message="work/demo/frames/001.zip: damaged at 000")


def test_hanging_stage_is_ended(copy: Checkout) -> None:
    script = copy.folder / "workflow_scripts/split_frames.py"
    code = script.read_text()
    begin = "    args = parser.parse_args(argv)\n"
    assert begin in code
    script.write_text(code.replace(begin, f"{begin}    __import__('time').sleep(3600)\n"))
    limits = yaml.safe_dump({"watchdog": {"idle": 0.05}})
    with (copy.folder / "tiny.yaml").open("a") as settings:
        settings.write(limits)
    split = "work/demo/split.json"
    fails(copy, split, message="split_frames hangs at workflow_scripts/split_frames.py, line ")
    script.write_text(code)
    finishes(copy, split)


def test_deleted_snakemake_records(copy: Checkout) -> None:
    shutil.rmtree(copy.folder / ".snakemake")
    shutil.rmtree(copy.folder / EXPORT)
    finishes(copy, EXPORT)


def test_stale_snakemake_locks_are_ignored(copy: Checkout) -> None:
    shutil.rmtree(copy.folder / EXPORT)
    locks = copy.folder / ".snakemake/locks"
    locks.mkdir(exist_ok=True)
    for kind in ("input", "output"):
        (locks / f"0.{kind}.lock").write_text(f"{EXPORT}\nwork/demo/track/track.npz\n")
    finishes(copy, EXPORT)


def test_clock_that_was_ahead(own_video: Checkout) -> None:
    """Files made before the clock was corrected have future time stamps; Snakemake names them."""
    finishes(own_video, "work/me/video.json")
    probed = own_video.folder / "work/me/video.json"
    later = time.time() + YEAR
    os.utime(probed, (later, later))
    result = own_video.snakemake(CROPS)
    assert result.returncode != 0
    assert "work/me/video.json" in result.stderr
    assert "This could indicate a clock skew problem" in result.stderr
    touch = "find work results -newermt now -exec touch {} +"
    subprocess.run(["bash", "-c", touch], cwd=own_video.folder, check=True)
    finishes(own_video, CROPS)


def test_clock_that_is_behind(copy: Checkout) -> None:
    if shutil.which("faketime") is None:
        pytest.skip("faketime is not installed")
    shutil.rmtree(copy.folder / EXPORT)
    command = [sys.executable, "-m", "snakemake", "--configfile", "tiny.yaml", "--cores", "2"]
    for _ in range(5):
        result = subprocess.run(
            ["faketime", "--exclude-monotonic", "-f", "-2y", *command, EXPORT],
            cwd=copy.folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=300,
        )
        # On a busy machine faketime's clock_nanosleep may fail.
        if "OSError: [Errno 22] Invalid argument" not in result.stderr:
            break
    assert result.returncode != 0
    assert "than input work/demo/track/track.npz" in result.stderr
    assert "This could indicate a clock skew problem" in result.stderr
    assert not (copy.folder / EXPORT).exists()
    finishes(copy, EXPORT)


def test_second_run_is_refused_and_the_first_continues(own_video: Checkout) -> None:
    command = [sys.executable, "-m", "snakemake", "--configfile", "tiny.yaml", "--cores", "1"]
    first = subprocess.Popen(
        [*command, CROPS],
        cwd=own_video.folder,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not (own_video.folder / "logs/me/probe_video.log").exists():
            assert first.poll() is None
            time.sleep(0.05)
        first.send_signal(signal.SIGSTOP)  # otherwise it would end before the second run starts
        fails(own_video, CROPS, message=f"another run (pid {first.pid}) is using this folder")
        first.send_signal(signal.SIGCONT)
        assert first.wait(timeout=300) == 0
    finally:
        if first.poll() is None:
            os.killpg(first.pid, signal.SIGKILL)
            first.wait()
    assert own_video.planned(CROPS) == {}
