"""Files that planning looks at may be damaged: none ends it but by one line."""

import json

import pytest

from headsplat_workflow.assets.verify import HashRecord
from headsplat_workflow.config import validate
from headsplat_workflow.refusals import Refusals
from headsplat_workflow.resources import memory_mb, probed_frames
from headsplat_workflow.state import read_subject
from headsplat_workflow.subjects import Subject

from headsplat.evaluate.report.costs import read_costs
from headsplat.runtime.errors import UserError

DEEP = "[" * 100_000


@pytest.mark.parametrize(
    ("text", "frames"),
    [
        ('{"fps": 25, "n_frames": 250, "pts": [1]}', 250),
        ('{"n_frames": ' + "9" * 4000 + "}", None),
        ('{"n_frames": -3}', None),
        (DEEP, None),
        ("\0\xff", None),
    ],
)
def test_a_damaged_probe_tells_no_frames(tmp_path, text, frames):
    (tmp_path / "video.json").write_text(text)
    assert probed_frames(tmp_path / "video.json") == frames
    assert memory_mb("train_avatar", frames or 0) < 10_000
    assert probed_frames(tmp_path) is None


def test_damaged_benchmarks_cost_nothing(tmp_path):
    (tmp_path / "matte_chunk").mkdir()
    (tmp_path / "matte_chunk/000.tsv").write_text("s\tmax_rss\n30.0\t100\n")
    (tmp_path / "matte_chunk/001.tsv").write_bytes(b"s\tmax_rss\nnan\t\xff\n1e999\n\n")
    (tmp_path / "probe_video.tsv").write_bytes(b"\0\xff\n1\0")
    (tmp_path / "solve_crop.tsv").mkdir()
    (tmp_path / "track_head.tsv").write_text("")
    costs = {cost.stage: (cost.seconds, cost.peak_mib) for cost in read_costs(tmp_path)}
    assert costs["matte_chunk"] == (30.0, 100.0)
    assert not {"solve_crop", "track_head"} & costs.keys()


@pytest.mark.parametrize("text", [DEEP, "[]", '{"a.pth": 3}', '{"a.pth": {}}', "{"])
def test_a_damaged_record_of_hashes_is_one_line(tmp_path, text):
    (tmp_path / "assets.json").write_text(text)
    with pytest.raises(UserError, match="assets.json: not a record of hashes .*; delete it"):
        HashRecord(tmp_path / "assets.json")


def test_a_configuration_of_a_billion_references_ends_at_once():
    bomb: list = ["x"] * 10
    for _ in range(12):
        bomb = [bomb] * 10
    with pytest.raises(UserError, match="config.yaml: holds more than 10,000 values"):
        validate({"train": bomb}, "config.yaml")
    with pytest.raises(UserError) as caught:
        validate({"train": {"steps": "v\n" * 5000}}, "config.yaml")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_the_state_of_a_subject_with_damaged_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results/me/avatar").mkdir(parents=True)
    for text in (DEEP, "3", json.dumps({"psnr_head": [1]})):
        (tmp_path / "results/me/avatar/metrics.json").write_text(text)
        assert read_subject(Subject("me", "a.mp4"), 1, active=False).psnr is None


def test_files_of_what_is_refused_are_asked_of_its_refusal():
    refusals = Refusals()
    file = refusals.file("subject", "bad", "subjects.tsv line 2: no")
    talk = refusals.file("motion", "talk", "motions.tsv line 2: no")
    for target in ("work/bad/video.json", "results/bad/avatar/model", "./work/bad/track/track.npz"):
        assert refusals.redirect(target) == file
    assert refusals.redirect("results/good/driven/talk.mp4") == talk
    for target in (
        "all",
        "work/bad2/video.json",
        "results/good/driven/walk.mp4",
        "work/heads/a.npz",
    ):
        assert refusals.redirect(target) == target
    odd = refusals.redirect("results/good/driven/walk.gif")
    assert odd == "work/.refused/video-good.walk.gif"
    assert "driven videos end in .mp4, .mov" in refusals["video-good.walk.gif"]
