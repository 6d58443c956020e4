"""The pipeline from Python: folders as in the workflow, and checked options."""

import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import headsplat
from headsplat import pipeline
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_json, write_json
from headsplat.video.encode import VideoWriter
from headsplat.video.info import VideoInfo
from tests.conftest import ROOT
from tests.unit.tiny_clip import make_clip

COUNT, SIZE = 12, 48
SMALL = {"steps": 4, "batch": 2, "gaussians": 300, "bases": 2, "lpips_weight": 0.0}


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """A clip's folder as tracking leaves it, and the head model beside it."""
    folder = tmp_path_factory.mktemp("clip")
    files = make_clip(folder, COUNT, SIZE)
    work = folder / "work"
    places = {
        files.track: "track/track.npz", files.split: "split.json", files.frames: "frames/000.zip",
        files.alpha: "alpha/000.zip", files.parsing: "parsing/000.zip",
    }  # fmt: skip
    for file, place in places.items():
        (work / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(file, work / place)
    info = VideoInfo(
        str(folder / "gone.mp4"), 1, "0", SIZE, SIZE, 0, Fraction(25), COUNT, 0, COUNT, COUNT / 25,
        [], [], [], Fraction(1, 25), None, False,
    )  # fmt: skip
    info.save(work / "video.json")
    return folder


@pytest.fixture(scope="module")
def trained(clip):
    threads = torch.get_num_threads()
    avatar = headsplat.train_avatar(
        clip / "work", clip / "head.npz", clip / "avatar", clip, "cpu", **SMALL
    )
    assert torch.get_num_threads() == threads
    return avatar


def test_a_trained_avatar_is_the_loaded_one(clip, trained):
    loaded = headsplat.load_avatar(clip / "avatar", device="cpu")
    track = headsplat.load_track(clip / "avatar")
    assert (clip / "avatar/model/track.npz").read_bytes() == (
        clip / "work/track/track.npz"
    ).read_bytes()
    assert torch.equal(loaded.render(track[2]), trained.render(track[2]))
    assert loaded.facts["steps"] == SMALL["steps"]


def test_an_evaluation_writes_beside_the_model(clip, trained):
    metrics = headsplat.evaluate_avatar(clip / "avatar", clip / "work", clip)
    assert metrics == read_json(clip / "avatar/metrics.json")
    assert metrics["frames"] == 2
    assert metrics["psnr_head"] > 5
    names = sorted(path.name for path in (clip / "avatar").iterdir())
    assert names == ["metrics.json", "model", "test.mp4"]
    assert (clip / "work/evaluation.npz").is_file()
    assert not list((clip / "work/scratch").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [({"step": 5}, "option 'step' of training: there are model, steps"), ({"steps": 0}, "steps 0")],
)
def test_wrong_options_are_refused(clip, tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        headsplat.train_avatar(clip / "work", clip / "head.npz", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_folder_without_a_clip_is_refused(clip, tmp_path):
    with pytest.raises(UserError, match="frames: holds no images; track the video first"):
        headsplat.train_avatar(tmp_path, clip / "head.npz", tmp_path / "out")


def video(path: Path, brightness: int) -> Path:
    with VideoWriter(path, 64, 64, 25) as writer:
        for _ in range(60):
            writer.write(np.full((64, 64, 3), brightness, np.uint8))
    return path


def test_a_video_without_a_face_fails_and_its_files_are_kept(clip, tmp_path):
    first = video(tmp_path / "a.mp4", 90)
    out = tmp_path / "clip"
    with pytest.raises(UserError, match="no face in any frame"):
        headsplat.track_video(first, clip / "head.npz", out)
    made = {path: path.stat().st_mtime_ns for path in out.rglob("*.*")}
    assert {path.name for path in made} == {"inputs.json", "video.json", "000.npz"}
    with pytest.raises(UserError, match="no face in any frame"):
        headsplat.track_video(first, clip / "head.npz", out)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.*")} == made
    other = video(tmp_path / "b.mp4", 160)
    with pytest.raises(UserError, match="was made with another video"):
        headsplat.track_video(other, clip / "head.npz", out)
    with pytest.raises(UserError, match="was made with another size"):
        headsplat.track_video(first, clip / "head.npz", out, size=256)


def test_wrong_inputs_of_tracking_make_no_folder(clip, tmp_path):
    with pytest.raises(UserError, match=r"none\.mp4: there is no such file"):
        headsplat.track_video(tmp_path / "none.mp4", clip / "head.npz", tmp_path / "out")
    first = video(tmp_path / "a.mp4", 90)
    with pytest.raises(UserError, match="photometric 'no': use auto, always or never"):
        headsplat.track_video(first, clip / "head.npz", tmp_path / "out", photometric="no")
    assert not (tmp_path / "out").exists()


def test_a_workflow_folder_is_not_overwritten(clip, tmp_path):
    write_json(tmp_path / "video.json", {})
    with pytest.raises(UserError, match="holds a clip of other origin"):
        headsplat.track_video(video(tmp_path / "a.mp4", 90), clip / "head.npz", tmp_path)


def test_defaults_equal_the_configuration():
    matte = yaml.safe_load((ROOT / "config/config.yaml").read_text())["matte"]
    ours = (pipeline.MATTE.edge_radius, pipeline.MATTE.temporal_window)
    assert ours == (matte["edge_radius"], matte["temporal_window"])
