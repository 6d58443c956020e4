"""Export in FlashAvatar's layout: readable by its loader, and mismatched ids are refused."""

import zipfile

import numpy as np
import pytest
from PIL import Image

import export_dataset as script
from headsplat.frames.images import encode_jpeg, encode_png
from headsplat.frames.packs import FrameZipWriter
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish

SIZE = 48


def matte(frame: int) -> np.ndarray:
    y, x = np.mgrid[:SIZE, :SIZE]
    distance = 12 + frame - np.hypot(x - SIZE / 2, y - SIZE / 2)
    return np.clip(distance * 80 + 128, 0, 255).astype(np.uint8)


def write_chunk(root, chunk: str, ids, **skip) -> None:
    rng = np.random.default_rng(int(chunk))
    with publish(root / f"frames/{chunk}.zip") as t, FrameZipWriter(t, ".jpg") as pack:
        for frame in ids:
            pack.add(frame, encode_jpeg(rng.integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)))
    with publish(root / f"alpha/{chunk}.zip") as t, FrameZipWriter(t, ".png") as pack:
        for frame in ids:
            if frame != skip.get("alpha"):
                side = 32 if frame == skip.get("small") else SIZE
                pack.add(frame, encode_png(matte(frame)[:side, :side]))
    with publish(root / f"parsing/{chunk}.zip") as t, FrameZipWriter(t, ".png") as pack:
        for frame in ids:
            mask = np.where(matte(frame) > 0, 255, 0).astype(np.uint8)
            pack.add(frame, encode_png(mask), role="_neckhead")
            if frame != skip.get("mouth"):
                pack.add(frame, encode_png(mask[::-1].copy()), role="_mouth")


def export(root):
    flags = []
    for name in ("frames", "alpha", "parsing"):
        flags += [f"--{name}", *map(str, sorted((root / name).glob("*.zip")))]
    script.main([*flags, "--out", str(root / "dataset")])
    return root / "dataset"


def test_layout_modes_and_values(tmp_path):
    write_chunk(tmp_path, "000", (1, 2, 3))
    write_chunk(tmp_path, "001", (4, 5))
    folder = export(tmp_path)
    stems = [f"{k:05d}" for k in range(1, 6)]
    expected = {f"imgs/{s}.jpg" for s in stems} | {f"alpha/{s}.jpg" for s in stems}
    expected |= {f"parsing/{s}_{role}.png" for s in stems for role in ("neckhead", "mouth")}
    found = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert found == expected
    for stem in stems:
        assert Image.open(folder / f"imgs/{stem}.jpg").mode == "RGB"
        alpha = Image.open(folder / f"alpha/{stem}.jpg")
        assert (alpha.mode, alpha.size) == ("L", (SIZE, SIZE))
        difference = np.asarray(alpha).astype(int) - matte(int(stem))
        assert np.abs(difference).max() <= 6
        mask = Image.open(folder / f"parsing/{stem}_mouth.png")
        assert mask.mode == "L"
        assert set(np.unique(np.asarray(mask))) == {0, 255}


def test_images_and_masks_are_copied_byte_for_byte(tmp_path):
    write_chunk(tmp_path, "000", (1, 2))
    folder = export(tmp_path)
    frames = zipfile.ZipFile(tmp_path / "frames/000.zip")
    assert (folder / "imgs/00002.jpg").read_bytes() == frames.read("00002.jpg")
    parsing = zipfile.ZipFile(tmp_path / "parsing/000.zip")
    for name in ("00001_neckhead.png", "00001_mouth.png"):
        assert (folder / "parsing" / name).read_bytes() == parsing.read(name)


@pytest.mark.parametrize(
    ("skip", "words"),
    [
        ({"alpha": 4}, ("alpha", "without a partner", "4")),
        ({"mouth": 5}, ("5_mouth",)),
        ({"small": 2}, ("matte 00002", "32x32", "48x48")),
    ],
)
def test_mismatched_ids_are_refused_without_output(tmp_path, skip, words):
    write_chunk(tmp_path, "000", (1, 2, 3), **skip)
    write_chunk(tmp_path, "001", (4, 5), **skip)
    with pytest.raises(UserError) as caught:
        export(tmp_path)
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "dataset").exists()


def test_a_second_export_replaces_the_first(tmp_path):
    write_chunk(tmp_path, "000", (1, 2, 3))
    stale = export(tmp_path) / "imgs/00009.jpg"
    stale.write_bytes(b"")
    export(tmp_path)
    assert not stale.exists()
