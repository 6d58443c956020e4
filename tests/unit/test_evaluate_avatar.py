"""The stage `evaluate_avatar`: rendered in parts, with equal metrics after an interruption."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

import evaluate_avatar as script
from headsplat.avatar_files import save_avatar
from headsplat.evaluate import evaluation, measures
from headsplat.evaluate.measures import PAIRS
from headsplat.heads.model import HeadModel
from headsplat.runtime.files import read_json, read_npz, write_json
from headsplat.track import read_track, write_track
from headsplat.video import parts
from headsplat.video.encode import VideoWriter
from headsplat.video.sound import read_sound
from tests.unit.driven import make_avatar
from tests.unit.tiny_clip import make_clip

# Of three parts of the video, the second and the third begin in the middle of a stretch.
COUNT, SIZE = 48, 48
HELD_OUT = [*range(3, 19), *range(20, 44)]
FACELESS = 46
# A click begins with this frame of the clip.
RATE, CLICK = 48000, 31
SPEEDS = ("fps_batched", "fps_single")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> list[str]:
    folder = tmp_path_factory.mktemp("clip")
    clip = make_clip(folder, COUNT, SIZE)
    train = [i for i in range(1, COUNT + 1) if i not in (*HELD_OUT, FACELESS)]
    split = {"mode": "spread", "train": train, "test": HELD_OUT, "unusable": [FACELESS]}
    write_json(clip.split, split)
    track = read_track(clip.track)
    status = np.where(track.ids == FACELESS, "no_face", "ok")
    write_track(clip.track, replace(track, status=status))
    sound = np.zeros(RATE * COUNT // 25, np.float32)
    sound[RATE * (CLICK - 1) // 25 :][: RATE // 25] = 0.8
    with VideoWriter(folder / "source.mp4", SIZE, SIZE, 25, (sound, RATE)) as video:
        for _ in range(COUNT):
            video.write(np.zeros((SIZE, SIZE, 3), np.uint8))
    head = HeadModel.load(clip.head)
    (folder / "avatar").mkdir()
    save_avatar(folder / "avatar", make_avatar(head, track.shape), clip.head, clip.track)
    avatar = ["--avatar", str(folder / "avatar"), "--assets", str(folder)]
    return [*clip.arguments(), *avatar, "--video", str(folder / "source.mp4")]


def arguments(inputs: list[str], folder: Path) -> list[str]:
    names = {"metrics": "metrics.json", "evaluation": "evaluation.npz", "video-out": "test.mp4"}
    out = [part for flag, name in names.items() for part in (f"--{flag}", str(folder / name))]
    return [*inputs, *out, "--scratch", str(folder / "scratch")]


def published(folder: Path) -> dict[str, Any]:
    """Published files of a run, without speeds."""
    metrics = read_json(folder / "metrics.json")
    assert all(metrics.pop(name) > 0 for name in SPEEDS)
    files = {name: (folder / name).read_bytes() for name in ("evaluation.npz", "test.mp4")}
    return {"metrics": metrics, **files}


@pytest.fixture(scope="module")
def straight(inputs, tmp_path_factory) -> Path:
    """Output folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("straight")
    script.main(arguments(inputs, folder))
    assert not list((folder / "scratch").iterdir()), "scratch is cleared once all is published"
    return folder


def shown(video: Path) -> np.ndarray:
    """(N, H, W, 3) images of a video."""
    with av.open(str(video)) as file:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)])


def test_the_video_shows_the_whole_clip_and_marks_what_was_held_out(straight):
    video = shown(straight / "test.mp4").astype(int)
    assert video.shape == (COUNT, SIZE, 2 * SIZE, 3)
    # Orange, gray or nothing along the bottom, right of the words.
    edge = video[:, -1, -20:].mean(1)
    orange = (edge[:, 0] > 150) & (edge[:, 2] < 100)
    assert (np.flatnonzero(orange) + 1).tolist() == HELD_OUT
    gray = (edge.min(1) > 70) & (np.ptp(edge, axis=1) < 50)
    assert (np.flatnonzero(gray) + 1).tolist() == [FACELESS]
    # Without a face the ground truth is the whole image, elsewhere it is on black.
    side = video[:, SIZE // 2, 1:4].mean((1, 2))
    assert side[FACELESS - 1] > 30
    assert np.delete(side, FACELESS - 1).max() < 10
    # The render moves as the head does.
    assert np.abs(np.diff(video[:, :-12, SIZE:], axis=0)).mean((1, 2, 3)).min() > 0


def test_the_videos_sound_is_the_clips(straight):
    samples, rate = read_sound(straight / "test.mp4", 60)
    loud = np.flatnonzero(np.abs(samples[:, 0]) > 0.4)
    assert len(samples) == pytest.approx(rate * COUNT / 25, abs=rate / 25)
    assert loud[0] / rate == pytest.approx((CLICK - 1) / 25, abs=0.005)
    assert loud[-1] / rate == pytest.approx(CLICK / 25, abs=0.005)


def test_an_import_without_a_sound_has_a_silent_video(inputs, straight, tmp_path):
    where = inputs.index("--video")
    script.main(arguments([*inputs[:where], *inputs[where + 2 :]], tmp_path))
    assert read_sound(tmp_path / "test.mp4", 60) is None
    np.testing.assert_array_equal(shown(tmp_path / "test.mp4"), shown(straight / "test.mp4"))


def test_metrics_do_not_depend_on_parts(inputs, straight, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "PART", 1000)
    script.main(arguments(inputs, tmp_path))
    whole, joined = (read_npz(f / "evaluation.npz") for f in (tmp_path, straight))
    assert whole.keys() == joined.keys()
    assert joined["ids"].tolist() == HELD_OUT
    for name, values in whole.items():
        if name not in PAIRS:
            np.testing.assert_array_equal(joined[name], values, err_msg=name)
    flicker = joined["temporal_error"]
    # The frame before a part is drawn by itself there, and a matrix product may round otherwise.
    for name in PAIRS:
        np.testing.assert_allclose(joined[name], whole[name], rtol=1e-5, atol=1e-6, err_msg=name)
    assert np.flatnonzero(np.isnan(flicker)).tolist() == [0, 16]
    assert min(flicker[HELD_OUT.index(17)], flicker[HELD_OUT.index(33)]) > 0
    sheet = joined["sheet_ids"].tolist()
    assert len(set(sheet)) == 12
    assert set(sheet) <= set(HELD_OUT)
    assert joined["sheet_ground_truth"].shape == joined["sheet_render"].shape == (12, SIZE, SIZE, 3)
    metrics = read_json(straight / "metrics.json")
    assert metrics["psnr_head"] == pytest.approx(joined["psnr_head"].mean(), rel=1e-6)
    assert metrics["temporal_error"] == pytest.approx(np.nanmean(flicker), rel=1e-6)


def test_a_resumed_evaluation_has_equal_metrics(inputs, straight, tmp_path, monkeypatch):
    measure, measured, limit = measures.frame_metrics, [], 4

    def dies(*images):
        measured.append(len(images[0]))
        if len(measured) == limit:
            raise KeyboardInterrupt
        return measure(*images)

    monkeypatch.setattr(measures, "frame_metrics", dies)
    with pytest.raises(KeyboardInterrupt):
        script.main(arguments(inputs, tmp_path))
    assert not list(tmp_path.glob("*.*"))
    states = [path.name[:6] + path.suffix for path in (tmp_path / "scratch").rglob("0*.*")]
    assert sorted(states) == ["00000-.mp4", "00000-.npz"]
    measured.clear()
    limit = None
    script.main(arguments(inputs, tmp_path))
    assert measured == [7, 8, 8, 3], "the two parts that were missing"
    assert published(tmp_path) == published(straight)


@pytest.mark.parametrize("suffix", ["mp4", "npz"])
def test_a_damaged_file_of_a_part_is_made_again(
    inputs, straight, tmp_path, monkeypatch, caplog, suffix
):
    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "join_videos", lambda *_: (_ for _ in ()).throw(RuntimeError))
        with pytest.raises(RuntimeError):
            script.main(arguments(inputs, tmp_path))
    (path,) = (tmp_path / "scratch").rglob(f"00001-*.{suffix}")
    path.write_bytes(path.read_bytes()[:-9])
    with caplog.at_level("INFO"):
        script.main(arguments(inputs, tmp_path))
    assert f"{path} is damaged: making it again" in caplog.text
    assert "2 of 3 parts are there" in caplog.text
    assert published(tmp_path) == published(straight)


# Evaluates slowly, so that the kill hits a running process.
SLOW = """
import time
import evaluate_avatar
from headsplat_workflow.stage import stage
from headsplat.evaluate import measures
measure = measures.frame_metrics
measures.frame_metrics = lambda *images: (time.sleep(0.2), measure(*images))[1]
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
