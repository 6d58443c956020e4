"""From video to evaluated avatar through the library alone, on the built-in subject."""

from pathlib import Path

import pytest

import headsplat
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_json
from headsplat.synthetic.clip import render_clip
from headsplat.synthetic.head.calibrated import build_procedural_head

SECONDS, SIZE = 3, 128
SMALL = {"steps": 150, "batch": 4, "gaussians": 3000, "bases": 4, "lpips_weight": 0.0}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("inputs")
    build_procedural_head(folder / "head.npz")
    render_clip(folder / "head.npz", folder / "clip.mp4", folder / "truth.npz", SECONDS, 320)
    return folder / "clip.mp4", folder / "head.npz"


def test_video_to_evaluated_avatar(inputs, tmp_path):
    video, head = inputs
    work, out = tmp_path / "work", tmp_path / "results/avatar"
    track = headsplat.track_video(video, head, work, SIZE, "never", "cpu")
    assert len(track) == SECONDS * 25
    assert (track.width, track.height) == (SIZE, SIZE)
    before = {path: path.stat().st_mtime_ns for path in work.rglob("*.*")}
    (work / "parsing/000.zip").unlink()
    again = headsplat.track_video(video, head, work, SIZE, "never", "cpu")
    assert again.ids.tolist() == track.ids.tolist()
    made = {path for path in before if path.stat().st_mtime_ns != before[path]}
    assert made == {work / "parsing/000.zip"}, "what is there is kept"
    with pytest.raises(UserError, match="was made with another photometric"):
        headsplat.track_video(video, head, work, SIZE, "always", "cpu")

    avatar = headsplat.train_avatar(work, head, out, tmp_path, "cpu", **SMALL)
    assert avatar.render(track[0]).shape == (SIZE, SIZE, 3)
    metrics = headsplat.evaluate_avatar(out, work, tmp_path)
    assert metrics["psnr_head"] > 20
    assert metrics["frames"] == len(read_json(work / "split.json")["test"])
    headsplat.drive_avatar(out, work / "track/track.npz", tmp_path / "self.mp4", "track")
    assert (tmp_path / "self.mp4").stat().st_size > 10_000
