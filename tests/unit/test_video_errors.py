"""Bad videos end in one clear line."""

import os
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import probe_video as script
from headsplat.runtime.errors import UserError
from headsplat.video.encode import VideoWriter
from headsplat.video.probe import probe_video
from tests.conftest import ROOT
from tests.unit.video_files import make_video, numbered_image

BASE = Fraction(1, 25)


def refuse(path: Path, tmp_path: Path, pattern: str) -> None:
    out = tmp_path / "video.json"
    with pytest.raises(UserError, match=pattern) as caught:
        script.main(["--video", str(path), "--out", str(out)])
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert not out.exists()


def fast_start(path: Path, frames: int) -> bytes:
    with VideoWriter(path, 160, 120, 25) as writer:
        for index in range(frames):
            writer.write(numbered_image(index))
    return path.read_bytes()


def test_missing_path_ends_the_script_with_one_line_and_status_1(tmp_path: Path) -> None:
    run = subprocess.run(
        [
            sys.executable,
            str(ROOT / "workflow_scripts" / "probe_video.py"),
            *("--video", str(tmp_path / "none.mp4"), "--out", str(tmp_path / "o.json")),
        ],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1
    assert "none.mp4: no such file" in run.stderr


def test_text_named_mp4(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("this is no video\n" * 50)
    refuse(path, tmp_path, "not a video that can be opened")


def test_sound_without_images(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as file:
        stream = file.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    refuse(path, tmp_path, "no video stream")


def test_ten_frames(tmp_path: Path) -> None:
    path = make_video(tmp_path / "short.mp4", range(10), BASE)
    refuse(path, tmp_path, r"s of video can be decoded \(10 of 10 images\), at least 2 s")


def test_cut_off_before_two_seconds(tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    data = fast_start(path, 100)
    path.write_bytes(data[: len(data) * 35 // 100])
    refuse(path, tmp_path, r"s of video can be decoded \(\d+ of 100 images\)")


def test_cut_off_before_the_index(tmp_path: Path) -> None:
    path = make_video(tmp_path / "cut.mp4", range(100), BASE)
    data = path.read_bytes()
    assert data.find(b"moov") > len(data) // 2
    path.write_bytes(data[: len(data) // 2])
    refuse(path, tmp_path, "cut off before its index")


def test_cut_off_after_two_seconds_is_used_as_far_as_it_goes(tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    data = fast_start(path, 150)
    path.write_bytes(data[: len(data) * 85 // 100])
    info = probe_video(path, tmp_path / "video.json")
    assert 2 <= info.duration < 6
    assert info.n_source + info.n_undecodable == 150
    assert info.n_frames == pytest.approx(info.n_source, abs=3)


def test_a_file_that_is_still_being_written(tmp_path: Path) -> None:
    path = make_video(tmp_path / "growing.mp4", range(100), BASE)
    done = threading.Event()

    def write() -> None:
        stamp = 0
        while not done.wait(0.001):
            stamp += 1
            os.utime(path, (stamp, stamp))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        refuse(path, tmp_path, "changed while it was read")
    finally:
        done.set()
        writer.join()
