"""metrical-tracker and FlashAvatar import: content and one-line refusals."""

import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from headsplat.formats.flashavatar.reader import read_flashavatar
from headsplat.formats.frame import read_frame
from headsplat.formats.importing.clip import ImportOptions
from headsplat.formats.metrical_tracker import read_metrical_tracker
from headsplat.frames.images import encode_png
from headsplat.runtime.errors import UserError
from tests.unit.frame_folders import (
    SIZE,
    flame_like,
    flashavatar_dataset,
    frames,
    image,
    metrical_output,
)
from tests.unit.toy_head import toy_head

COUNT = 5


@pytest.fixture(scope="module")
def options() -> ImportOptions:
    return ImportOptions(flame_like())


def refused(reader, folder: Path, options: ImportOptions, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        reader(folder, options)
    assert "\n" not in str(caught.value)


def test_metrical_tracker_values(tmp_path, options):
    clip = read_metrical_tracker(metrical_output(tmp_path / "a", COUNT), options)
    track = clip.track
    assert track.ids.tolist() == [1, 2, 3, 4, 5]
    assert track.img_size.tolist() == [SIZE, SIZE]
    assert (track.head_name, track.head_version) == ("flame", "2020-toy")
    for row, frame in enumerate(frames(COUNT)):
        for key in ("exp", "jaw", "eyes", "eyelids"):
            np.testing.assert_array_equal(getattr(track, key)[row], frame["flame"][key][0])
        np.testing.assert_array_equal(track.R[row], frame["opencv"]["R"][0])
        np.testing.assert_array_equal(track.t[row], frame["opencv"]["t"][0])
    np.testing.assert_array_equal(track.shape, frame["flame"]["shape"][0])
    np.testing.assert_array_equal(track.K, frame["opencv"]["K"][0])
    assert [clip.images[i].path.name for i in (1, 5)] == ["00000.png", "00004.png"]
    assert not clip.alpha
    assert not clip.head_mask


def test_flashavatar_values_and_both_places_of_the_frames(tmp_path, options):
    folder = flashavatar_dataset(tmp_path / "dataset/me", COUNT)
    clip = read_flashavatar(folder, options)
    assert [clip.images[i].path.name for i in (1, 5)] == ["00001.jpg", "00005.jpg"]
    assert clip.mouth_mask[3].path == folder / "parsing/00003_mouth.png"
    assert clip.alpha.keys() == clip.head_mask.keys() == clip.images.keys() == {1, 2, 3, 4, 5}
    there = tmp_path / "metrical-tracker/output/me"
    there.mkdir(parents=True)
    (folder / "checkpoint").rename(there / "checkpoint")
    np.testing.assert_array_equal(read_flashavatar(folder, options).track.R, clip.track.R)
    (there / "checkpoint").rename(there / "elsewhere")
    refused(read_flashavatar, folder, options, "checkpoint: is not there, nor is")


def test_a_stated_offset_joins_and_leaves_out_the_ends(tmp_path, options):
    folder = flashavatar_dataset(tmp_path / "a", COUNT)
    clip = read_flashavatar(folder, replace(options, frame_delta=2))
    assert {i: p.path.stem for i, p in clip.images.items()} == {
        1: "00002", 2: "00003", 3: "00004", 4: "00005",
    }  # fmt: skip
    assert clip.head_mask[1].path.name == "00002_neckhead.png"
    assert any("1 frames at the ends have no image" in note for note in clip.notes)
    refused(read_flashavatar, folder, replace(options, frame_delta=9), "no image belongs to any")


def test_own_images(tmp_path, options):
    folder, own = metrical_output(tmp_path / "a", COUNT), tmp_path / "own"
    own.mkdir()
    for number in range(2, 2 + COUNT):
        (own / f"{number}.png").write_bytes(encode_png(image(number)))
    stated = replace(options, images=own, frame_delta=2)
    assert read_metrical_tracker(folder, stated).images[1].path == own / "2.png"
    refused(read_metrical_tracker, folder, replace(stated, frame_delta=None), "'frame_delta'")
    (own / "4.png").unlink()
    refused(read_metrical_tracker, folder, stated, r"own: the image 00004 of 00002\.frame")
    (own / "5.jpg").write_bytes(b"")
    refused(read_metrical_tracker, folder, stated, r"5\.png: has the same number as 5\.jpg")
    dataset = flashavatar_dataset(tmp_path / "b", COUNT)
    refused(read_flashavatar, dataset, stated, "brings its own images")


def test_frames_of_numpy_1_and_2_are_read(tmp_path):
    frame = frames(1)[0]
    torch.save(frame, tmp_path / "new.frame")
    with zipfile.ZipFile(tmp_path / "new.frame") as archive:
        (name,) = (n for n in archive.namelist() if n.endswith("data.pkl"))
        data = archive.read(name)
    new, old = b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"
    if np.lib.NumpyVersion(np.__version__) < "2.0.0":
        new, old = old, new
    assert new in data
    with zipfile.ZipFile(tmp_path / "old.frame", "w") as archive:
        archive.writestr("old/data.pkl", data.replace(new, old))
    for file in ("new", "old"):
        loaded = read_frame(tmp_path / f"{file}.frame")
        for key, value in frame["flame"].items():
            np.testing.assert_array_equal(loaded["flame"][key], value)


def edit(folder: Path, number: int, change) -> None:
    frame = frames(COUNT)[number]
    change(frame)
    torch.save(frame, folder / "checkpoint" / f"{number:05d}.frame")


def set_value(block: str, key: str, index, value):
    def change(frame: dict) -> None:
        frame[block][key][index] = value

    return change


def put(block: str, key: str, value):
    return lambda frame: frame[block].__setitem__(key, value)


BROKEN = {
    "missing key": (lambda f: f["flame"].pop("jaw"), r"00003\.frame: 'flame\.jaw' is missing"),
    "missing block": (lambda f: f.pop("opencv"), r"00003\.frame: 'opencv\.R' is missing"),
    "NaN rotation": (
        set_value("opencv", "R", (0, 1, 1), np.nan), r"00003\.frame: 'opencv\.R' is not finite",
    ),
    "no rotation": (
        set_value("opencv", "R", (0, 1, 1), 3.0), r"00003\.frame: 'opencv\.R' is not a rotation",
    ),
    "reflection": (
        put("opencv", "R", -np.eye(3, dtype=np.float32)[None]),
        r"00003\.frame: 'opencv\.R' is not a rotation",
    ),
    "flat 6D": (
        put("flame", "jaw", np.ones((1, 6), np.float32)), r"00003\.frame: 'flame\.jaw' is no 6D",
    ),
    "100 shape codes": (
        put("flame", "shape", np.zeros((1, 100), np.float32)),
        r"00003\.frame: 'flame\.shape' has 100 codes, a \.frame has 300",
    ),
    "50 expression codes": (
        put("flame", "exp", np.zeros((1, 50), np.float32)),
        r"00003\.frame: 'flame\.exp' has 50 codes, a \.frame has 100",
    ),
    "text for numbers": (
        put("flame", "exp", np.array([["a"] * 100])), r"00003\.frame: 'flame\.exp' is missing",
    ),
    "another shape": (
        set_value("flame", "shape", (0, 0), 2.0), r"00003\.frame: 'flame\.shape' differs",
    ),
    "another camera": (
        set_value("opencv", "K", (0, 0, 2), 40.0), r"00003\.frame: 'opencv\.K' differs",
    ),
    "another size": (
        lambda f: f.__setitem__("img_size", np.array([512, 512])),
        r"00003\.frame: 'img_size' is \[512, 512\]",
    ),
    "another id": (
        lambda f: f.__setitem__("frame_id", "00002"),
        r"00003\.frame: 'frame_id' is '00002', the name says 3",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_bad_frame_is_named(tmp_path, options, case):
    change, match = BROKEN[case]
    folder = metrical_output(tmp_path / "a", COUNT)
    edit(folder, 3, change)
    refused(read_metrical_tracker, folder, options, match)


def test_flashavatar_uses_frame_0_if_frames_differ(tmp_path, options):
    folder = flashavatar_dataset(tmp_path / "a", COUNT)
    edit(folder, 3, set_value("flame", "shape", (0, 0), 2.0))
    clip = read_flashavatar(folder, options)
    assert any("'flame.shape' changes by up to" in note for note in clip.notes)
    np.testing.assert_array_equal(clip.track.shape, frames(1)[0]["flame"]["shape"][0])


class _Shell:
    def __reduce__(self):
        return exec, ("raise SystemExit",)


def test_broken_files_and_numbers(tmp_path, options):
    folder = metrical_output(tmp_path / "a", COUNT)
    checkpoint = folder / "checkpoint"
    file = checkpoint / "00002.frame"
    whole = file.read_bytes()
    for length in (0, 40, len(whole) // 2, len(whole) - 30):
        file.write_bytes(whole[:length])
        refused(read_metrical_tracker, folder, options, r"00002\.frame: refused as a \.frame")
    for payload in (_Shell(), {"flame": {"exp": _Shell()}}):
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a/data.pkl", pickle.dumps(payload, protocol=2))
        refused(read_metrical_tracker, folder, options, r"00002\.frame: refused.*exec")
    file.unlink()
    refused(read_metrical_tracker, folder, options, r"00002\.frame: is missing.*1 missing in all")
    file.write_bytes(whole)
    twin = checkpoint / "2.frame"
    twin.write_bytes(whole)
    refused(read_metrical_tracker, folder, options, r"2\.frame: has the same number as")
    twin.unlink()
    (checkpoint / "last.frame").write_bytes(whole)
    refused(read_metrical_tracker, folder, options, r"last\.frame: its name is not a frame number")
    for file in checkpoint.iterdir():
        file.unlink()
    refused(read_metrical_tracker, folder, options, "checkpoint: holds no .frame files")


def test_missing_images_and_masks(tmp_path, options):
    folder = metrical_output(tmp_path / "a", COUNT)
    (folder / "input/00002.png").unlink()
    refused(read_metrical_tracker, folder, options, "input: the image 00002 of 00002.frame")
    for file in (folder / "input").iterdir():
        file.unlink()
    refused(read_metrical_tracker, folder, options, "input: holds no images")
    (folder / "input").rmdir()
    refused(read_metrical_tracker, folder, options, "input: is not there")
    dataset = flashavatar_dataset(tmp_path / "b", COUNT)
    (dataset / "parsing/00004_mouth.png").unlink()
    refused(read_flashavatar, dataset, options, "parsing: the image 00004_mouth is missing")


def test_heads_must_fit_the_codes(tmp_path, options):
    folder = metrical_output(tmp_path / "a", COUNT)
    wrong = replace(options, head=flame_like("2023"))
    refused(read_metrical_tracker, folder, wrong, "codes are of FLAME 2020, the head model is FLAM")
    said = replace(wrong, flame_version="2023")
    assert read_metrical_tracker(folder, said).track.head_version == "2023-toy"
    small = replace(options, head=toy_head())
    refused(
        read_metrical_tracker, folder, small,
        r"00000\.frame: 'flame\.shape' has 300 codes, the head model 6;.*column 'head'",
    )  # fmt: skip
    # What headsplat exports of another head ends in zeros, and comes back.
    for number in range(COUNT):

        def cut(frame: dict) -> None:
            frame["flame"]["shape"][:, 6:] = 0
            frame["flame"]["exp"][:, 5:] = 0

        edit(folder, number, cut)
    clip = read_metrical_tracker(folder, small)
    assert clip.track.shape.shape == (6,)
    assert clip.track.exp.shape == (COUNT, 5)
    assert any("taken as those of the head 'toy'" in note for note in clip.notes)
