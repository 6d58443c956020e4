"""The script that measures an avatar: in parts, and to the same numbers when it is cut off."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import evaluate_avatar as script
from headsplat.avatar import save_avatar
from headsplat.evaluate import evaluation
from headsplat.files import read_json, read_npz, write_json
from headsplat.heads.model import HeadModel
from headsplat.train.track import load_track
from headsplat.video import parts
from tests.unit.driven import make_avatar
from tests.unit.tiny_clip import make_clip

# Of three parts, the second begins behind a gap, the third in the middle of a stretch.
HELD_OUT = [*range(3, 19), *range(20, 44)]
SPEEDS = ("fps_batched", "fps_single")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("clip")
    clip = make_clip(folder, count=48)
    train = [i for i in range(1, 49) if i not in HELD_OUT]
    write_json(clip.split, {"mode": "spread", "train": train, "test": HELD_OUT})
    head = HeadModel.load(clip.head)
    (folder / "avatar").mkdir()
    save_avatar(folder / "avatar", make_avatar(head, load_track(clip.track, head).shape.numpy()))
    return [*clip.arguments(), "--avatar", str(folder / "avatar"), "--assets", str(folder)]


def arguments(inputs: list[str], folder: Path) -> list[str]:
    names = {"metrics": "metrics.json", "evaluation": "evaluation.npz", "video-out": "test.mp4"}
    out = [part for flag, name in names.items() for part in (f"--{flag}", str(folder / name))]
    return [*inputs, *out, "--scratch", str(folder / "scratch")]


def published(folder: Path) -> dict[str, Any]:
    """What a run published, but for the speeds."""
    metrics = read_json(folder / "metrics.json")
    assert all(metrics.pop(name) > 0 for name in SPEEDS)
    files = {name: (folder / name).read_bytes() for name in ("evaluation.npz", "test.mp4")}
    return {"metrics": metrics, **files}


@pytest.fixture(scope="module")
def straight(inputs, tmp_path_factory) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("straight")
    script.main(arguments(inputs, folder))
    assert not list((folder / "scratch").iterdir()), "scratch is cleared once all is published"
    return folder


def test_parts_change_no_number(inputs, straight, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PART", 1000)
    script.main(arguments(inputs, tmp_path))
    whole, joined = (read_npz(f / "evaluation.npz") for f in (tmp_path, straight))
    assert whole.keys() == joined.keys()
    assert joined["ids"].tolist() == HELD_OUT
    for name, values in whole.items():
        if name != "temporal_error":
            np.testing.assert_array_equal(joined[name], values, err_msg=name)
    flicker = joined["temporal_error"]
    # The frame before a part is drawn by itself there, and a matrix product may round otherwise.
    np.testing.assert_allclose(flicker, whole["temporal_error"], rtol=1e-5)
    assert np.flatnonzero(np.isnan(flicker)).tolist() == [0, 16]
    assert flicker[32] > 0
    metrics = read_json(straight / "metrics.json")
    assert metrics["psnr_head"] == pytest.approx(joined["psnr_head"].mean(), rel=1e-6)
    assert metrics["temporal_error"] == pytest.approx(np.nanmean(flicker), rel=1e-6)
    with av.open(str(straight / "test.mp4")) as file:
        assert sum(1 for _ in file.decode(video=0)) == len(HELD_OUT)


def test_an_evaluation_that_was_cut_off_goes_on_to_the_same_numbers(
    inputs, straight, tmp_path, monkeypatch
):
    measure, measured, limit = evaluation.frame_metrics, [], 4

    def dies(*pictures):
        measured.append(len(pictures[0]))
        if len(measured) == limit:
            raise KeyboardInterrupt
        return measure(*pictures)

    monkeypatch.setattr(evaluation, "frame_metrics", dies)
    with pytest.raises(KeyboardInterrupt):
        script.main(arguments(inputs, tmp_path))
    assert not list(tmp_path.glob("*.*"))
    states = sorted(path for path in (tmp_path / "scratch").rglob("0*"))
    assert [path.name[:6] + path.suffix for path in states] == ["00000-.mp4", "00000-.npz"]
    measured.clear()
    limit = None
    script.main(arguments(inputs, tmp_path))
    assert measured == [8, 8, 8], "the two parts that were missing"
    assert published(tmp_path) == published(straight)


@pytest.mark.parametrize("suffix", ["mp4", "npz"])
def test_a_damaged_file_of_a_part_is_made_again(
    inputs, straight, tmp_path, monkeypatch, caplog, suffix
):
    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "join_films", lambda *_: (_ for _ in ()).throw(RuntimeError))
        with pytest.raises(RuntimeError):
            script.main(arguments(inputs, tmp_path))
    (path,) = (tmp_path / "scratch").rglob(f"00001-*.{suffix}")
    path.write_bytes(path.read_bytes()[:-9])
    with caplog.at_level("INFO"):
        script.main(arguments(inputs, tmp_path))
    assert f"{path} is damaged: making it again" in caplog.text
    assert "2 of 3 parts are there" in caplog.text
    assert published(tmp_path) == published(straight)


# Measures slowly enough to be hit.
SLOW = """
import time
import evaluate_avatar
from headsplat.cli import stage
from headsplat.evaluate import evaluation
measure = evaluation.frame_metrics
evaluation.frame_metrics = lambda *pictures: (time.sleep(0.2), measure(*pictures))[1]
stage(evaluate_avatar.main)
"""


def test_a_killed_evaluation_publishes_the_same_bytes(inputs, straight, tmp_path, caplog):
    command = [sys.executable, "-c", SLOW, *arguments(inputs, tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, env=environment) as process:
        end = time.monotonic() + 60
        while not list((tmp_path / "scratch").rglob("00000-*.npz")):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not list(tmp_path.glob("*.*"))
    with caplog.at_level("INFO"):
        script.main(arguments(inputs, tmp_path))
    assert " of 3 parts are there" in caplog.text
    assert published(tmp_path) == published(straight)
