"""The clean plate of a clip, and the filling of holes."""

import numpy as np
import pytest
import torch

from headsplat.frames.images import encode_png, read_image_file
from headsplat.frames.packs import FrameZipWriter
from headsplat.masks.clean_plate import make_clean_plate
from headsplat.masks.fill import blurred, fill_holes
from headsplat.runtime.errors import UserError
from tests.unit.test_foreign_files import png

SIDE = 64


def clip(folder, frames: int, person, chunks: int = 2, strength: int = 3):
    """Zips of images of a slope behind a green person, and of mattes; person: k -> (H, W) bool."""
    column = np.tile(np.arange(SIDE), (SIDE, 1))
    scene = np.stack([2 * column, 255 - 2 * column, 60 + column], -1).astype(np.uint8)
    rng = np.random.default_rng(0)
    images, mattes = [], []
    for chunk in range(chunks):
        paths = folder / f"f{chunk}.zip", folder / f"a{chunk}.zip"
        with FrameZipWriter(paths[0], ".png") as f, FrameZipWriter(paths[1], ".png") as a:
            for k in range(chunk * frames // chunks, (chunk + 1) * frames // chunks):
                here = person(k)
                noise = rng.integers(-strength, strength + 1, scene.shape)
                image = np.where(here[..., None], (0, 255, 0), scene + noise).clip(0, 255)
                f.add(k + 1, encode_png(image.astype(np.uint8)))
                a.add(k + 1, encode_png((here * 255).astype(np.uint8)))
        images.append(paths[0])
        mattes.append(paths[1])
    return scene, images, mattes


def walking(k: int) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (np.abs(columns - 20 - k / 2) < 10) & (rows > 15)


def test_each_pixel_is_the_median_of_what_is_seen(tmp_path):
    scene, images, mattes = clip(tmp_path, 40, walking)
    make_clean_plate(images, mattes, tmp_path / "plate.png")
    first = (tmp_path / "plate.png").read_bytes()
    plate = read_image_file(tmp_path / "plate.png")
    assert np.abs(plate.astype(int) - scene).max() <= 4
    make_clean_plate(images, mattes, tmp_path / "plate.png")
    assert (tmp_path / "plate.png").read_bytes() == first


def test_a_background_that_moves_is_blurred(tmp_path):
    _, images, mattes = clip(tmp_path, 80, walking, strength=60)
    make_clean_plate(images, mattes, tmp_path / "plate.png")
    plate = read_image_file(tmp_path / "plate.png").astype(int)
    # The slope changes by 2 a column; medians of the noise alone would differ by about 10.
    assert np.abs(np.diff(plate, axis=0)).max() <= 3
    assert np.abs(np.diff(plate, axis=1)).max() <= 4


def test_what_is_always_covered_is_filled_from_around(tmp_path):
    scene, images, mattes = clip(tmp_path, 6, lambda k: walking(0))
    make_clean_plate(images, mattes, tmp_path / "plate.png")
    plate = read_image_file(tmp_path / "plate.png").astype(int)
    assert np.abs(plate - scene)[~walking(0)].max() <= 12
    inside = plate[walking(0)]
    # Between the colors at both sides; nothing of the green person.
    assert np.abs(inside - scene[walking(0)]).mean() < 15
    assert inside[:, 1].max() < 253


@pytest.mark.parametrize(
    ("person", "edit", "expected"),
    [
        (lambda k: np.ones((SIDE, SIDE), bool), None, "show no background in any image"),
        (walking, "missing", "frame ids without a partner"),
        (walking, "damaged", "not a readable zip"),
        (walking, "bomb", r"frame 9 of .*f2\.zip: is 20000 x 20000 pixels, more than 40 million"),
        (walking, "other", r"frame 9 of .*f2\.zip: is 30 x 30 pixels, expected 64 x 64"),
        (walking, "junk", r"frame 9 of .*f2\.zip: cannot be read as an image"),
    ],
)
def test_clips_that_cannot_be_used_are_one_line(tmp_path, person, edit, expected):
    _, images, mattes = clip(tmp_path, 4, person)
    if edit == "missing":
        mattes = mattes[:1]
    if edit == "damaged":
        mattes[0].write_bytes(b"PK")
    odd = {
        "bomb": png(20000, 20000),
        "other": encode_png(np.zeros((30, 30), np.uint8)),
        "junk": b"x",
    }
    if edit in odd:
        images.append(tmp_path / "f2.zip")
        mattes.append(tmp_path / "a2.zip")
        with FrameZipWriter(images[2], ".png") as f, FrameZipWriter(mattes[2], ".png") as a:
            f.add(9, odd[edit])
            a.add(9, encode_png(np.zeros((SIDE, SIDE), np.uint8)))
    with pytest.raises(UserError, match=expected) as error:
        make_clean_plate(images, mattes, tmp_path / "plate.png")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "plate.png").exists()


@pytest.mark.parametrize("size", [(1, 1), (5, 9), (33, 64)])
def test_known_pixels_stay_and_holes_lie_between_them(size):
    torch.manual_seed(0)
    values, weight = torch.rand(2, 3, *size), (torch.rand(2, 1, *size) > 0.7).float()
    weight[..., 0, 0] = 1
    filled = fill_holes(values, weight)
    torch.testing.assert_close(filled * weight, values * weight)
    low, high = ((values * weight + (1 - weight) * far).flatten(2) for far in (9, -9))
    assert (filled >= low.amin(2)[..., None, None] - 1e-5).all()
    assert (filled <= high.amax(2)[..., None, None] + 1e-5).all()
    constant = fill_holes(torch.full_like(values, 0.3), weight)
    torch.testing.assert_close(constant, torch.full_like(values, 0.3))


def test_a_blur_keeps_sums_inside():
    dot = torch.zeros(1, 1, 41, 41)
    dot[..., 20, 20] = 1
    soft = blurred(dot, 3)
    assert soft.sum().item() == pytest.approx(1, abs=1e-5)
    variance = (soft.sum((0, 1, 2)) * (torch.arange(41.0) - 20) ** 2).sum()
    assert variance.item() == pytest.approx(3 * (7**2 - 1) / 12, rel=1e-3)
    assert blurred(dot, 0) is dot
