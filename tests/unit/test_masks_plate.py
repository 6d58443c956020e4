"""Mattes by a known background: thin hair, a camera that moves, changing light."""

import cv2
import numpy as np
import pytest

from headsplat.frames.images import decode_image, encode_jpeg
from headsplat.frames.packs import FrameStore, FrameZipWriter
from headsplat.masks.matte import matte_chunk
from headsplat.masks.plate import Plate, plate_of
from headsplat.masks.plate_matte import plate_matte
from headsplat.masks.steady import SteadyMattes
from headsplat.runtime.files import publish
from tests.unit.test_masks_matte import person

SIDE = 256
HAIR, CLOTH, SKIN = np.array([[60.0, 40, 30], [70, 60, 120], [205, 155, 135]])


@pytest.fixture(scope="module")
def room() -> np.ndarray:
    """A colored scene (SIDE, SIDE, 3) uint8, softly out of focus."""
    tiles = np.random.default_rng(2).integers(90, 230, (SIDE // 16, SIDE // 16, 3))
    return cv2.resize(tiles.astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)


def alphas(x: float) -> tuple[np.ndarray, np.ndarray]:
    """A body in two colors, and the same with hairs; each (SIDE, SIDE) float32."""
    body = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(body, (round(x), 120), (44, 56), 0, 0, 360, 255, -1, cv2.LINE_AA)
    cv2.rectangle(body, (round(x) - 90, 190), (round(x) + 90, SIDE), 255, -1)
    hairy = body.copy()
    for k in range(9):
        end = (round(x) - 60 + 15 * k, 50)
        cv2.line(hairy, (round(x) - 30 + 7 * k, 90), end, 150, 1, cv2.LINE_AA)
    hairy = np.maximum(hairy, body)
    return body.astype(np.float32) / 255, hairy.astype(np.float32) / 255


def frame(scene: np.ndarray, alpha: np.ndarray, seed: int) -> np.ndarray:
    """A noisy image of the subject."""
    colors = np.where(np.arange(SIDE)[:, None, None] < 180, HAIR, CLOTH)
    image = alpha[..., None] * colors + (1 - alpha[..., None]) * scene
    noise = np.random.default_rng(seed).normal(0, 1.5, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def seen(scenes: list[np.ndarray], step: int = 8) -> Plate | None:
    """The plate of a subject that walks past some scenes, `step` pixels a frame."""
    pairs = []
    for k, scene in enumerate(scenes):
        body, hairy = alphas(70 + step * k)
        pairs.append((frame(scene, hairy, k), np.rint(255 * body).astype(np.uint8)))
    return plate_of(iter(pairs))


def test_hair_that_the_first_matte_misses_is_found_before_a_known_background(room):
    plate = seen([room] * 16)
    body, hairy = alphas(128)
    found, decided = plate_matte(frame(room, hairy, 40), body, plate)
    hair = (hairy > body + 0.2) & (cv2.dilate(body, np.ones((25, 25))) > 0)
    assert np.abs(found - hairy)[hair].mean() < 0.4 * np.abs(body - hairy)[hair].mean()
    far = cv2.dilate(hairy, np.ones((5, 5))) == 0
    assert found[far].max() < 0.1
    assert (found[100:150, 110:140] == 1).all()
    assert 0 <= decided.min() < decided.max() <= 1


def test_background_that_the_first_matte_takes_is_removed(room):
    plate = seen([room] * 16)
    _, hairy = alphas(128)
    wide = np.maximum(hairy, 0.7 * cv2.dilate(hairy, np.ones((9, 9))))
    found, _ = plate_matte(frame(room, hairy, 41), wide, plate)
    leak = (wide > 0.6) & (hairy < 0.02) & (np.arange(SIDE)[:, None] < 170)
    assert found[leak].mean() < 0.2


def test_a_camera_that_moves_gives_no_plate(room):
    assert seen([np.roll(room, 7 * k, 1) for k in range(16)]) is None
    assert plate_of(iter(())) is None


def test_a_background_that_changes_beside_the_subject_gives_no_plate(room):
    """A small part of the image, so that most of the background stays as it is."""
    step = 3

    def lit(k: int) -> np.ndarray:
        """The room with a shadow that goes along with the subject of `seen`."""
        wide = cv2.GaussianBlur(cv2.dilate(alphas(70 + step * k)[1], np.ones((21, 21))), (0, 0), 4)
        return np.rint(room * (1 - 0.12 * wide[..., None])).astype(np.uint8)

    assert seen([room] * 16, step) is not None
    assert seen([lit(k) for k in range(16)], step) is None


def test_what_stands_apart_from_the_subject_is_not_added(room):
    """Something of the hair's color in the background, a few pixels beside the head."""
    plate = seen([room] * 16)
    body, _ = alphas(128)
    image = frame(room, body, 43)
    spot = np.s_[110:116, 70:76]
    image[spot] = HAIR
    assert plate_matte(image, body, plate)[0][spot].max() < 0.05
    # The same, where a line joins it to the head.
    image[112:114, 76:90] = HAIR
    assert plate_matte(image, body, plate)[0][spot].min() > 0.8


def test_hair_beside_skin_has_the_hairs_color(room):
    plate = seen([room] * 16)
    body, _ = alphas(128)
    hairy = body.copy()
    for y in range(125, 150, 6):
        cv2.line(hairy, (66, y), (88, y), 0.6, 1, cv2.LINE_AA)
    hairy = np.maximum(hairy, body)
    image = frame(room, hairy, 44)
    face = (body > 0.9) & (np.arange(SIDE)[:, None] > 95) & (np.arange(SIDE)[:, None] < 180)
    image[face] = SKIN
    found, _ = plate_matte(image, body, plate)
    hair = hairy > body + 0.2
    assert np.abs(found - hairy)[hair].mean() < 0.25 * np.abs(body - hairy)[hair].mean()


def test_the_matte_stays_where_the_image_shows_another_background(room):
    plate = seen([room] * 16)
    body, hairy = alphas(128)
    found, decided = plate_matte(frame(255 - room, hairy, 42), body, plate)
    assert decided.mean() < 0.01
    assert np.abs(found - body).mean() < 0.002


def test_images_of_another_size_are_left_out(room):
    body, hairy = alphas(128)
    matte = np.rint(255 * body).astype(np.uint8)
    image = frame(room, hairy, 1)
    plate = plate_of([(image, matte)] * 6 + [(image[:100], matte[:100])] * 3)
    assert plate.colors.shape == image.shape


def test_decided_pixels_are_not_steadied():
    rng = np.random.default_rng(4)
    image = np.full((64, 64, 3), 90, np.uint8)
    mattes = [rng.integers(0, 256, (64, 64)).astype(np.uint8) for _ in range(5)]
    plain, free = SteadyMattes(4), SteadyMattes(4)
    for matte in mattes:
        one, two = plain(image, matte), free(image, matte, np.ones((64, 64), np.float32))
        np.testing.assert_array_equal(two, matte)
    assert (one != mattes[-1]).any()


def test_the_clip_of_a_chunk_gives_the_same_mattes_for_every_division(tmp_path):
    frames = {k: person(2.0 * k - 14) for k in range(1, 15)}
    for name, ids in (("whole/000", range(1, 15)), ("a/000", range(1, 9)), ("a/001", range(9, 15))):
        with publish(tmp_path / f"{name}.zip") as path, FrameZipWriter(path, ".jpg") as pack:
            for k in ids:
                pack.add(k, encode_jpeg(frames[k]))
    whole, parts = [tmp_path / "whole/000.zip"], [tmp_path / f"a/00{k}.zip" for k in range(2)]
    matte_chunk(whole, "000", tmp_path / "one.zip", "mediapipe", 8.0, 4, clip=whole)
    matte_chunk(parts, "001", tmp_path / "two.zip", "mediapipe", 8.0, 4, clip=parts)
    with FrameStore([tmp_path / "one.zip"]) as one, FrameStore([tmp_path / "two.zip"]) as two:
        for k in two.ids:
            difference = decode_image(one.read(k)).astype(int) - decode_image(two.read(k))
            assert np.abs(difference).max() <= 2
