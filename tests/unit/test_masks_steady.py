"""Temporal filter of mattes: spikes vanish, motion does not lag, chunks join exactly."""

import sys

import cv2
import numpy as np
import pytest

from headsplat.frames.images import decode_image, encode_jpeg
from headsplat.frames.packs import FrameStore, FrameZipWriter
from headsplat.masks.mask_model import MaskModel
from headsplat.masks.matte import matte_chunk
from headsplat.masks.matting_models import MATTING_MODELS, MatteOptions
from headsplat.masks.steady import SteadyMattes
from headsplat.runtime.files import publish

SIZE = 256


def subject(x: float) -> tuple[np.ndarray, np.ndarray]:
    """Image and matte of a textured disc in front of a textured wall."""
    rng = np.random.default_rng(0)
    wall, skin = (
        cv2.GaussianBlur(rng.integers(0, 90, (SIZE, SIZE, 3)).astype(np.uint8) + base, (0, 0), 2)
        for base in (40, 120)
    )
    move = np.float32([[1, 0, x], [0, 1, 0]])
    skin = cv2.warpAffine(skin, move, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT)
    row, column = np.mgrid[:SIZE, :SIZE] + 0.5
    matte = (80.5 - np.hypot(row - 128, column - 128 - x)).clip(0, 1)
    image = matte[..., None] * skin + (1 - matte[..., None]) * wall
    return image.astype(np.uint8), np.rint(255 * matte).astype(np.uint8)


def test_a_spike_and_a_gap_of_one_frame_vanish():
    steady = SteadyMattes(4)
    for k in range(8):
        image, clean = subject(0.7 * k)
        matte = clean.copy()
        if k == 6:
            matte[100:103, 205:235] = 255
            matte[120:123, 150:190] = 0
        found = steady(image, matte)
        if k == 6:
            assert found[100:103, 220:235].max() < 30
            assert found[120:123, 150:190].min() > 225


def test_noise_of_the_edge_shrinks_and_slow_motion_does_not_lag():
    rng = np.random.default_rng(1)
    before, after = [], []
    steady = SteadyMattes(4)
    for k in range(12):
        image, clean = subject(0.5 * k)
        soft = cv2.GaussianBlur(clean, (0, 0), 2)
        wobble = cv2.GaussianBlur(rng.normal(0, 400, soft.shape), (0, 0), 3)
        matte = np.where((soft > 0) & (soft < 255), soft + wobble, soft).clip(0, 255)
        found = steady(image, matte.astype(np.uint8))
        if k > 4:
            edge = (soft > 0) & (soft < 255)
            before.append(np.abs(matte - soft)[edge].mean())
            after.append(np.abs(found.astype(float) - soft)[edge].mean())
    assert np.mean(after) < 0.75 * np.mean(before)


def test_what_the_image_shows_newly_appears_at_once():
    image, clean = subject(0)
    steady = SteadyMattes(4)
    for _ in range(5):
        steady(image, clean)
    image, matte = image.copy(), clean.copy()
    image[20:60, 20:60] = 250
    matte[20:60, 20:60] = 255
    assert steady(image, matte)[25:55, 25:55].min() == 255


def test_no_window_and_another_size_leave_a_matte_as_it_is():
    image, matte = subject(0)
    assert SteadyMattes(0)(image, matte) is matte
    steady = SteadyMattes(3)
    steady(image, matte)
    np.testing.assert_array_equal(steady(image[:200], 255 - matte[:200]), 255 - matte[:200])


class Jumpy:
    """A model whose mattes have a spike in every fifth frame."""

    warm_up, batch = 1, 3

    def __init__(self, options: MatteOptions) -> None:
        self.seen = 0

    def begin(self, images: list[np.ndarray]) -> list[tuple[np.ndarray, bool]]:
        """Bright frames get a spike."""
        return [(image, int(image[0, 0, 0]) > 200) for image in images]

    def finish(self, begun: tuple[np.ndarray, bool]) -> np.ndarray:
        image, spike = begun
        matte = np.where(image[..., 1] > 145, 255, 0).astype(np.uint8)
        matte[10:13, 100:200] = 255 if spike else 0
        return matte

    def close(self) -> None:
        """Nothing to release."""


@pytest.fixture
def jumpy(monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "Jumpy", Jumpy, raising=False)
    monkeypatch.setitem(MATTING_MODELS.entries, "jumpy", MaskModel(f"{__name__}:Jumpy", "spikes"))


def test_any_model_is_steadied_and_chunks_join_exactly(tmp_path, jumpy):
    frames = {}
    for k in range(1, 17):
        frames[k] = subject(0.6 * k)[0]
        frames[k][:8, :8] = 250 if k % 5 == 0 else 0
    parts = {"whole/000": range(1, 17), "a/000": range(1, 10), "a/001": range(10, 17)}
    for name, ids in parts.items():
        with publish(tmp_path / f"{name}.zip") as path, FrameZipWriter(path, ".jpg") as pack:
            for k in ids:
                pack.add(k, encode_jpeg(frames[k]))
    matte_chunk([tmp_path / "whole/000.zip"], "000", tmp_path / "whole.zip", "jumpy", 8.0, 4)
    both = [tmp_path / "a/000.zip", tmp_path / "a/001.zip"]
    matte_chunk(both, "001", tmp_path / "part.zip", "jumpy", 8.0, 4)
    with (
        FrameStore([tmp_path / "whole.zip"]) as whole,
        FrameStore([tmp_path / "part.zip"]) as part,
    ):
        assert part.ids == list(range(10, 17))
        for k in part.ids:
            found = decode_image(part.read(k))
            np.testing.assert_array_equal(found, decode_image(whole.read(k)))
            assert found[10:13, 110:190].max() < 40
        assert decode_image(whole.read(1)).max() == 255
