"""Offset between image and frame numbers: measured, confirmed or contradicted."""

from dataclasses import replace

import numpy as np
import pytest

from headsplat.formats.flashavatar.reader import read_flashavatar
from headsplat.formats.frame_folder import read_frame_folder
from headsplat.formats.frame_offset import measure_offset, project_landmarks, resolve_offset
from headsplat.formats.importing.clip import ImportOptions
from headsplat.formats.metrical_tracker import read_metrical_tracker
from headsplat.runtime.errors import UserError
from tests.unit.frame_folders import flame_like, flashavatar_dataset, metrical_output

COUNT = 40
HEAD = flame_like()


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    return metrical_output(tmp_path_factory.mktemp("a") / "out", COUNT)


@pytest.fixture(scope="module")
def detector(output):
    """`detector(delta)` sees in image k the landmarks of frame k - delta, shifted and noisy."""
    model, index = project_landmarks(HEAD, read_frame_folder(output / "checkpoint", HEAD))
    rng = np.random.default_rng(0)
    shift = rng.normal(size=(len(index), 2))

    def of(delta: int, faces: int = COUNT):
        def detect(image: np.ndarray) -> np.ndarray | None:
            frame = int(np.median(image)) - delta
            if not 0 <= frame < min(COUNT, faces):
                return None
            found = np.full((478, 2), np.nan)
            found[index] = model[frame] + shift + rng.normal(size=shift.shape) * 0.2
            return found

        return detect

    return of


def options(detect, **values) -> ImportOptions:
    return ImportOptions(HEAD, detect=detect, **values)


@pytest.mark.parametrize("delta", [-2, -1, 0, 1, 2])
def test_own_images_are_measured(output, detector, delta):
    own = options(detector(delta), images=output / "input")
    clip = read_metrical_tracker(output, own)
    first = max(0, -delta) + 1
    assert clip.images[first].path.stem == f"{first - 1 + delta:05d}"
    assert len(clip.images) == COUNT - abs(delta)
    assert any(note.startswith(f"frame_delta {delta} ") for note in clip.notes)


def test_a_contradiction_says_which_offset_fits(output, detector):
    for values in ({"frame_delta": 1}, {}):
        with pytest.raises(UserError, match=r"does not fit these images; 2 \(0\.\d+ px\) does"):
            read_metrical_tracker(output, options(detector(2), **values))
    assert read_metrical_tracker(output, options(detector(2), frame_delta=2)).images[1]


def test_beyond_the_range_is_not_called_a_fit(output, detector):
    with pytest.raises(UserError, match=r"no frame_delta of -2 \.\. 2 fits.*lies beyond 3"):
        read_metrical_tracker(output, options(detector(6), images=output / "input"))
    assert (
        read_metrical_tracker(output, options(detector(6), images=output / "input", frame_delta=6))
        .images[1]
        .path.stem
        == "00006"
    )


def test_without_faces_the_stated_offset_is_used(output, detector):
    blind = options(detector(0, faces=4), images=output / "input")
    with pytest.raises(UserError, match="too few images show a face"):
        read_metrical_tracker(output, blind)
    clip = read_metrical_tracker(output, replace(blind, frame_delta=1))
    assert any("was not measured" in note for note in clip.notes)


def test_a_still_head_gives_no_offset(output, detector):
    frames = read_frame_folder(output / "checkpoint", HEAD)
    still = replace(frames, **{
        key: np.repeat(getattr(frames, key)[:1], COUNT, 0)
        for key in ("exp", "jaw", "eyes", "eyelids", "R", "t")
    })  # fmt: skip
    model, index = project_landmarks(HEAD, still)
    rng = np.random.default_rng(1)

    def detect(image: np.ndarray) -> np.ndarray:
        found = np.zeros((478, 2))
        found[index] = model[0] + rng.normal(size=model[0].shape) * 0.2
        return found

    images = {n: output / "input" / f"{n:05d}.png" for n in range(COUNT)}
    measured = measure_offset(HEAD, still, images, 0, detect)
    assert not measured.worse
    with pytest.raises(UserError, match="moves too little|lies beyond"):
        resolve_offset(measured, None, None, output)
    assert resolve_offset(measured, 1, None, output)[0] == 1


def test_a_lagging_dataset_is_imported_with_a_warning(tmp_path, detector):
    folder = flashavatar_dataset(tmp_path / "a", COUNT)
    clip = read_flashavatar(folder, options(detector(2)))
    assert clip.images[1].path.stem == "00001"
    assert any("the dataset lags; write 2 into" in note for note in clip.notes)
    mended = read_flashavatar(folder, options(detector(2), frame_delta=2))
    assert mended.images[1].path.stem == "00002"
    with pytest.raises(UserError, match="frame_delta 1 .*stated, does not fit"):
        read_flashavatar(folder, options(detector(2), frame_delta=1))


def test_images_of_another_size_are_refused(output, detector, tmp_path):
    from PIL import Image

    Image.new("RGB", (20, 48)).save(tmp_path / "00009.png")
    images = {9: tmp_path / "00009.png"}
    frames = read_frame_folder(output / "checkpoint", HEAD)
    with pytest.raises(UserError, match=r"00009\.png: is 20 x 48 pixels, the track is of 48 x 48"):
        measure_offset(HEAD, frames, images, 0, detector(0))
