"""Imports of metrical-tracker's output and FlashAvatar's dataset run through the real rules."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from headsplat.formats.frame import read_frame
from headsplat.frames.images import decode_image, encode_png
from headsplat.frames.packs import FrameStore
from headsplat.runtime.files import read_npz

from .conftest import TINY, Checkout, copy_repository

pytestmark = pytest.mark.slow
COUNT = 75
TABLE = (
    "subject\tvideo\thead\tpreset\timport\n"
    "theirs\t-\tprocedural\tpreview\tmetrical-tracker:output/theirs\n"
    "own\timages\tprocedural\tpreview\tmetrical-tracker:output/theirs\n"
    "data\t\tprocedural\tpreview\tflashavatar:dataset/data\n"
)
TARGETS = (
    "results/theirs/avatar/report.html",
    "results/theirs/checkpoint",
    "work/theirs/track/overlay.mp4",
    "results/data/avatar/model",
    "work/own/track/track.npz",
)


def lay_out(folder: Path, finished: Checkout) -> None:
    """Write metrical-tracker's output and FlashAvatar's dataset in those tools' layouts."""
    results = finished.folder / "results/demo"
    output = folder / "output/theirs"
    for part in ("checkpoint", "input"):
        (output / part).mkdir(parents=True)
    (folder / "images").mkdir()
    shutil.copytree(results / "dataset", folder / "dataset/data")
    shutil.copytree(
        results / "checkpoint", folder / "metrical-tracker/output/data/checkpoint"
    )  # where the original code looks for them
    for number in range(COUNT):
        name = f"{number:05d}.frame"
        torch.save(read_frame(results / "checkpoint" / name), output / "checkpoint" / name)
        image = (results / "dataset/imgs" / f"{number + 1:05d}.jpg").read_bytes()
        (output / "input" / f"{number:05d}.png").write_bytes(encode_png(decode_image(image)))
        # Numbered from 1 as by ffmpeg; the tracker started with the second image.
        (folder / "images" / f"{number + 2:05d}.jpg").write_bytes(image)


@pytest.fixture(scope="module")
def imported(finished: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy in which two imports ran to the end, and a third up to its track."""
    checkout = copy_repository(tmp_path_factory.mktemp("imported") / "headsplat")
    lay_out(checkout.folder, finished)
    (checkout.folder / "config/subjects.tsv").write_text(TABLE)
    for part in ("cuda_ext", "heads"):
        shutil.copytree(
            finished.folder / "work" / part, checkout.folder / "work" / part,
            copy_function=shutil.copy2,
        )  # fmt: skip
    tiny = json.loads(json.dumps(TINY))
    tiny["presets"]["preview"]["chunks"] = 1
    (checkout.folder / "tiny.yaml").write_text(yaml.safe_dump(tiny))
    planned = checkout.planned(*TARGETS)
    assert planned["import_track"] == planned["solve_trunk"] == 3
    # The trunk is solved from images and mattes, also where only the track is asked for.
    assert planned["import_frames_chunk"] == 3
    assert (planned["matte_chunk"], planned["parse_chunk"]) == (2, 1)
    assert planned["import_alpha_chunk"] == planned["import_parsing_chunk"] == 1
    skipped = {"probe_video", "detect_chunk", "solve_crop", "crop_chunk", "track_head"}
    assert not skipped & planned.keys()
    result = checkout.snakemake(*TARGETS)
    assert result.returncode == 0, result.stdout + result.stderr
    assert checkout.planned(*TARGETS) == {}, "a second run has something to do"
    return checkout


def test_import_ends_in_avatar_report_and_equal_frame_files(imported: Checkout) -> None:
    results = imported.folder / "results/theirs"
    metrics = json.loads((results / "avatar/metrics.json").read_text())
    assert metrics["psnr_head"] > 12
    assert (results / "avatar/test.mp4").stat().st_size > 1000
    page = (results / "avatar/report.html").read_text()
    assert "theirs" in page
    assert "nan %" not in page
    assert "Landmark residual" not in page
    assert (imported.folder / "work/theirs/track/overlay.mp4").stat().st_size > 1000
    for name in ("00000.frame", f"{COUNT - 1:05d}.frame"):
        ours = read_frame(results / "checkpoint" / name)
        theirs = read_frame(imported.folder / "output/theirs/checkpoint" / name)
        for block in ("flame", "opencv"):
            for key, value in theirs[block].items():
                np.testing.assert_allclose(ours[block][key], value, atol=1e-6, err_msg=key)
    training = imported.folder / "results/data/avatar/model/training.json"
    assert json.loads(training.read_text())["steps"] == TINY["presets"]["preview"]["train"]["steps"]


@pytest.mark.parametrize("subject", ["theirs", "own", "data"])
def test_imported_track_equals_the_exported_one(
    imported: Checkout, finished: Checkout, subject: str
) -> None:
    track, ground_truth = (
        read_npz(folder / "track/track.npz")
        for folder in (imported.folder / "work" / subject, finished.folder / "work/demo")
    )
    for key in ("ids", "shape", "exp", "jaw", "eyes", "eyelids", "R", "t", "K", "img_size"):
        np.testing.assert_allclose(track[key], ground_truth[key], rtol=1e-6, atol=1e-6, err_msg=key)


def test_frame_offset_of_separate_images_is_estimated(imported: Checkout) -> None:
    notes = json.loads((imported.folder / "work/own/import.json").read_text())["notes"]
    assert any(note.startswith("frame_delta 2 ") and "measured" in note for note in notes), notes


def test_dataset_images_are_imported_unchanged(imported: Checkout) -> None:
    source, work = imported.folder / "dataset/data", imported.folder / "work/data"
    with (
        FrameStore(sorted((work / "frames").glob("*.zip"))) as frames,
        FrameStore(sorted((work / "alpha").glob("*.zip"))) as alpha,
        FrameStore(sorted((work / "parsing").glob("*.zip"))) as parsing,
    ):
        assert frames.ids == alpha.ids == parsing.ids == list(range(1, COUNT + 1))
        for frame in (1, COUNT):
            stem = f"{frame:05d}"
            assert frames.read(frame) == (source / "imgs" / f"{stem}.jpg").read_bytes()
            matte = decode_image((source / "alpha" / f"{stem}.jpg").read_bytes())
            np.testing.assert_array_equal(decode_image(alpha.read(frame)), matte)
            for role in ("_neckhead", "_mouth"):
                mask = decode_image((source / "parsing" / f"{stem}{role}.png").read_bytes())
                np.testing.assert_array_equal(decode_image(parsing.read(frame, role)), mask)


def test_damaged_frame_file_ends_in_one_line(imported: Checkout) -> None:
    file = imported.folder / "output/theirs/checkpoint/00007.frame"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    result = imported.snakemake("work/theirs/track/track.npz", "--forcerun", "import_track")
    file.write_bytes(whole)
    assert result.returncode == 1
    lines = (imported.folder / "logs/theirs/import_track.log").read_text().splitlines()
    errors = [line for line in lines if line.startswith("error:")]
    assert len(errors) == 1
    assert "00007.frame: refused as a .frame" in errors[0]
