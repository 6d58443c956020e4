"""What jobs ask of their machine: more with frames and attempts, and less of the GPU."""

import json
import re

import pytest

from headsplat_workflow import resources
from headsplat_workflow.resources import (  # fmt: skip
    NEEDS,
    disk_mb,
    frames_by_size,
    gpu_percent,
    machine_memory_mb,
    memory_mb,
    minutes,
    probed_frames,
)

from tests.conftest import ROOT


def test_every_need_belongs_to_a_rule():
    text = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    assert set(NEEDS) <= set(re.findall(r"^rule (\w+):", text, re.M))


@pytest.mark.parametrize("stage", sorted(NEEDS))
def test_longer_clips_and_later_attempts_ask_for_no_less(stage):
    for ask in (memory_mb, minutes):
        assert 0 < ask(stage, 300) <= ask(stage, 15_000)
        asked = [ask(stage, 1500, attempt) for attempt in (1, 2, 3)]
        assert asked == sorted(set(asked))
    assert 0 < disk_mb(stage, 300) <= disk_mb(stage, 15_000)


def test_figures_of_a_clip_of_ten_minutes():
    assert memory_mb("train_avatar", 15_000) == int(5000 * 1.048576)
    assert memory_mb("train_avatar", 15_000, 2) == int(5000 * 1.048576 * 1.5)
    assert minutes("train_avatar", 15_000, 3) == 3 * (240 + 150)
    assert disk_mb("crop_chunk", 1000) == int(140 * 1.048576) + 1


def test_a_retry_asks_for_less_of_the_gpu():
    shares = [gpu_percent(attempt) for attempt in (1, 2, 3, 4)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == 50
    assert shares[-1] == 0


def test_frames_are_read_from_the_beginning_of_video_json(tmp_path):
    info = tmp_path / "video.json"
    assert probed_frames(info) is None
    info.write_text(json.dumps({"path": "a.mp4", "n_frames": 1234, "pts": list(range(9999))}))
    assert probed_frames(info) == 1234
    info.write_text('{"path": "a')
    assert probed_frames(info) is None


def test_frames_before_probing_are_guessed_by_size(tmp_path):
    video = tmp_path / "a.mp4"
    assert frames_by_size(video) == 0
    video.write_bytes(bytes(1_000_000))
    assert frames_by_size(video) == 200
    assert frames_by_size(video, longest=50) == 50


def test_jobs_share_what_the_control_group_leaves(monkeypatch):
    assert machine_memory_mb(8000) == int(7300 * 1.048576)
    assert machine_memory_mb(1000) == int(500 * 1.048576)
    monkeypatch.setattr(resources, "memory_limit_mib", lambda: None)
    whole = machine_memory_mb()
    assert machine_memory_mb(10**9) == whole > 0
