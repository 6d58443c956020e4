"""Overlay video: rendered in parts, with equal bytes after interruptions."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

import overlay_track as script
from headsplat.frames.crop import Crop
from headsplat.runtime.files import write_npz
from headsplat.runtime.stopping import STATUS
from headsplat.tracking.overlay import DETECTED, Overlay
from headsplat.video.parts import PART
from tests.unit.tiny_clip import make_clip

FRAMES, SIZE = 2 * PART + 8, 48


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> list[str]:
    """The script's inputs; every detected point lies in the image's corner."""
    folder = tmp_path_factory.mktemp("clip")
    clip = make_clip(folder, count=FRAMES, size=SIZE)
    Crop(0, 0, SIZE, SIZE, SIZE, SIZE).save(folder / "crop.json")
    # Of another order than the track's.
    ids = np.arange(FRAMES, 0, -1)
    write_npz(folder / "landmarks.npz", ids=ids, points=np.full((FRAMES, 478, 3), 4.5))
    return ["--head", str(clip.head), "--track", str(clip.track), "--frames", str(clip.frames),
            "--landmarks", str(folder / "landmarks.npz"), "--crop",
            str(folder / "crop.json")]  # fmt: skip


def arguments(inputs: list[str], folder: Path) -> list[str]:
    return [*inputs, "--scratch", str(folder / "scratch"), "--out", str(folder / "overlay.mp4")]


@pytest.fixture(scope="module")
def straight(inputs, tmp_path_factory) -> Path:
    """Video of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("straight")
    script.main(arguments(inputs, folder))
    assert not list((folder / "scratch").iterdir()), "scratch is cleared once the video is there"
    return folder / "overlay.mp4"


def test_it_shows_every_frame_with_its_points(straight):
    with av.open(str(straight)) as file:
        images = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert len(images) == FRAMES
    assert images[0].shape == (2 * SIZE, 2 * SIZE, 3)
    middle = int(4.5 * 2)
    corner = np.stack(images)[:, middle, middle].astype(int)
    assert (corner[..., 0] - corner[..., 2] > 60).all(), f"{DETECTED} is red"
    # The sphere turns, so images differ from frame to frame.
    assert np.abs(np.diff(np.stack(images).astype(int), axis=0)).mean((1, 2, 3)).min() > 0.1


def test_a_resumed_overlay_has_equal_bytes(inputs, straight, tmp_path, monkeypatch):
    draw, drawn, limit = Overlay.draw, [], PART + 8

    def dies(self, rows, images):
        drawn.extend(rows)
        if len(drawn) == limit:
            raise KeyboardInterrupt
        return draw(self, rows, images)

    monkeypatch.setattr(Overlay, "draw", dies)
    with pytest.raises(KeyboardInterrupt):
        script.main(arguments(inputs, tmp_path))
    assert not (tmp_path / "overlay.mp4").exists()
    (part,) = (tmp_path / "scratch").rglob("*.mp4")
    assert part.name.startswith("00000-")
    drawn.clear()
    limit = FRAMES + 1
    script.main(arguments(inputs, tmp_path))
    assert drawn == list(range(PART, FRAMES)), "only what was missing is drawn"
    assert (tmp_path / "overlay.mp4").read_bytes() == straight.read_bytes()


# Renders slowly, so that the kill hits a running process.
SLOW = """
import time
import overlay_track
from headsplat_workflow.stage import stage
from headsplat.tracking.overlay import Overlay
draw = Overlay.draw
Overlay.draw = lambda *given: (time.sleep(0.2), draw(*given))[1]
stage(overlay_track.main)
"""


@pytest.mark.parametrize(("number", "status"), [("SIGKILL", -9), ("SIGTERM", STATUS)])
def test_a_killed_process_loses_no_complete_part(
    inputs, straight, tmp_path, caplog, number, status
):
    command = [sys.executable, "-c", SLOW, *arguments(inputs, tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment) as process:
        end = time.monotonic() + 60
        while not list((tmp_path / "scratch").rglob("0*-*.mp4")):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(getattr(signal, number))
    assert process.returncode == status
    assert not (tmp_path / "overlay.mp4").exists()
    if number == "SIGTERM":
        assert not list((tmp_path / "scratch").rglob(".*"))
    kept = len(list((tmp_path / "scratch").rglob("0*-*.mp4")))
    with caplog.at_level("INFO"):
        script.main(arguments(inputs, tmp_path))
    assert f"{kept} of 3 parts are there" in caplog.text
    assert (tmp_path / "overlay.mp4").read_bytes() == straight.read_bytes()


def test_another_input_starts_over(inputs, tmp_path, monkeypatch, caplog):
    join = "headsplat.tracking.overlay.join_videos"
    with monkeypatch.context() as patched:
        patched.setattr(join, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            script.main(arguments(inputs, tmp_path))
    # Another window moves the detected points.
    Crop(1, 0, SIZE, SIZE, SIZE, SIZE).save(tmp_path / "crop.json")
    with caplog.at_level("INFO"):
        script.main([*arguments(inputs, tmp_path), "--crop", str(tmp_path / "crop.json")])
    assert "starting over: " in caplog.text
    assert "parts are there" not in caplog.text
