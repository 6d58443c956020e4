"""Matte refinement, temporal smoothing, and continuity across chunks."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from headsplat.frames.images import decode_image, encode_jpeg
from headsplat.frames.packs import FrameStore, FrameZipWriter
from headsplat.masks.decoding import decode_rgb
from headsplat.masks.mask_model import MaskModel
from headsplat.masks.matte import matte_chunk
from headsplat.masks.matting_models import MATTING_MODELS, MatteOptions
from headsplat.masks.mediapipe_matting import TemporalSmoother
from headsplat.masks.refine import keep_subject, refine_edges
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish


def disc(size: int, center: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size] + 0.5
    return (np.hypot(x - center[0], y - center[1]) < radius).astype(np.float32)


def write_zip(path: Path, frames: dict[int, np.ndarray]) -> Path:
    with publish(path) as temporary, FrameZipWriter(temporary, ".jpg") as pack:
        for frame_id, image in frames.items():
            pack.add(frame_id, encode_jpeg(image))
    return path


def test_refinement_moves_a_coarse_border_onto_the_image_edge():
    ground_truth = disc(512, (256, 256), 150)
    image = np.where(ground_truth[..., None] > 0, (180, 120, 90), (60, 90, 160)).astype(np.uint8)
    coarse = cv2.resize(disc(64, (32.6, 32), 19), (256, 256), interpolation=cv2.INTER_LINEAR)

    alpha = refine_edges(image, coarse, radius=8)

    before = np.abs(cv2.resize(coarse, (512, 512)) - ground_truth).mean()
    assert np.abs(alpha - ground_truth).mean() < 0.35 * before
    assert (alpha[disc(512, (256, 256), 125) > 0] == 1).all()
    assert (alpha[disc(512, (256, 256), 175) == 0] == 0).all()


def test_refinement_radius_zero_only_sharpens():
    coarse = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(64, 0)
    alpha = refine_edges(np.zeros((64, 64, 3), np.uint8), coarse, radius=0)
    np.testing.assert_allclose(alpha, np.clip((coarse - 0.15) / 0.7, 0, 1), atol=1e-6)


def test_only_the_component_near_the_center_stays():
    subject = 0.9 * disc(128, (60, 70), 25)
    bystander = disc(128, (10, 64), 22)[:, :34]
    coarse = subject.copy()
    coarse[:, :34] = np.maximum(coarse[:, :34], bystander)
    np.testing.assert_array_equal(keep_subject(coarse), subject)


def test_smoother_reduces_flicker_and_does_not_lag():
    rng = np.random.default_rng(0)
    still = np.full((64, 64, 3), 90, np.uint8)
    smoother = TemporalSmoother(4)
    noisy = [np.clip(0.5 + 0.2 * rng.standard_normal((64, 64)), 0, 1) for _ in range(12)]
    smooth = [smoother(still, mask.astype(np.float32)) for mask in noisy]
    assert np.std(smooth[5:]) < 0.55 * np.std(noisy[5:])

    moved = np.full((64, 64, 3), 200, np.uint8)
    mask = disc(64, (20, 20), 9)
    np.testing.assert_allclose(smoother(moved, mask), mask, atol=1e-4)


def test_smoother_uses_only_its_window():
    rng = np.random.default_rng(1)
    images = [np.full((8, 8, 3), 90 + k % 3, np.uint8) for k in range(9)]
    masks = [rng.random((8, 8), dtype=np.float32) for _ in range(9)]
    whole, tail = TemporalSmoother(3), TemporalSmoother(3)
    for image, mask in zip(images, masks, strict=True):
        last = whole(image, mask)
    for image, mask in zip(images[5:], masks[5:], strict=True):
        last_of_tail = tail(image, mask)
    np.testing.assert_array_equal(last, last_of_tail)


def person(shift: float) -> np.ndarray:
    """A simple bust in front of a wall, which the segmenter detects as a person."""
    rng = np.random.default_rng(3)
    image = np.full((256, 256, 3), (150, 170, 190), np.uint8)
    center = (int(128 + shift), 110)
    cv2.ellipse(image, (center[0], 256), (100, 80), 0, 0, 360, (40, 40, 60), -1)
    cv2.rectangle(image, (center[0] - 22, 130), (center[0] + 22, 200), (190, 140, 120), -1)
    cv2.ellipse(image, center, (46, 62), 0, 0, 360, (205, 155, 135), -1)
    cv2.ellipse(image, (center[0], 80), (50, 44), 0, 180, 360, (50, 35, 30), -1)
    for side in (-18, 18):
        cv2.ellipse(image, (center[0] + side, 102), (8, 4), 0, 0, 360, (250, 250, 250), -1)
        cv2.circle(image, (center[0] + side, 102), 3, (30, 30, 30), -1)
    cv2.ellipse(image, (center[0], 140), (15, 5), 0, 0, 360, (150, 60, 60), -1)
    noise = rng.integers(-4, 5, image.shape)
    return cv2.GaussianBlur(np.clip(image + noise, 0, 255).astype(np.uint8), (3, 3), 0)


def test_chunks_join_without_a_seam(tmp_path):
    frames = {k: person(0.8 * k) for k in range(1, 15)}
    whole = write_zip(tmp_path / "whole/000.zip", frames)
    first = write_zip(tmp_path / "split/000.zip", {k: frames[k] for k in range(1, 9)})
    second = write_zip(tmp_path / "split/001.zip", {k: frames[k] for k in range(9, 15)})
    settings = {"model": "mediapipe", "edge_radius": 8.0, "temporal_window": 4}

    matte_chunk([whole], "000", tmp_path / "whole.zip", **settings)
    matte_chunk([first], "000", tmp_path / "a.zip", **settings)
    matte_chunk([first, second], "001", tmp_path / "b.zip", **settings)

    parts = [tmp_path / "a.zip", tmp_path / "b.zip"]
    with FrameStore([tmp_path / "whole.zip"]) as expected, FrameStore(parts) as joined:
        assert joined.ids == expected.ids == list(frames)
        for frame_id in frames:
            alpha = decode_image(expected.read(frame_id))
            assert alpha.shape == (256, 256)
            assert alpha.dtype == np.uint8
            difference = decode_image(joined.read(frame_id)).astype(int) - alpha
            assert np.abs(difference).max() <= 2
        middle = decode_image(expected.read(8))
        assert (middle[:20, :20] == 0).all()
        assert (middle[90:130, 120:150] == 255).all()


def test_registered_model_gets_warm_up_frames_in_order(tmp_path, monkeypatch):
    seen: list[int] = []

    class Recorder:
        warm_up = 3
        batch = 2

        def __init__(self, options: MatteOptions) -> None:
            assert options == MatteOptions(3.0, 0, None, 1, "recorder")

        def begin(self, images: list[np.ndarray]) -> list[np.ndarray]:
            assert len(images) <= self.batch
            seen.extend(round(float(image.mean()) / 10) for image in images)
            return [np.full(image.shape[:2], 128, np.uint8) for image in images]

        def finish(self, begun: np.ndarray) -> np.ndarray:
            return begun + 1

        def close(self) -> None:
            seen.append(-1)

    monkeypatch.setattr(sys.modules[__name__], "Recorder", Recorder, raising=False)
    entry = MaskModel(f"{__name__}:Recorder", "records what it is shown")
    monkeypatch.setitem(MATTING_MODELS.entries, "recorder", entry)
    gray = {k: np.full((16, 16, 3), 10 * k, np.uint8) for k in range(1, 8)}
    before = write_zip(tmp_path / "000.zip", {k: gray[k] for k in range(1, 5)})
    own = write_zip(tmp_path / "001.zip", {k: gray[k] for k in range(5, 8)})
    matte_chunk([before, own], "001", tmp_path / "out.zip", "recorder", 3.0, 0)
    assert seen == [2, 3, 4, 5, 6, 7, -1]
    with FrameStore([tmp_path / "out.zip"]) as store:
        assert store.ids == [5, 6, 7]
        assert (decode_image(store.read(5)) == 129).all()


def test_both_decoders_give_the_same_pixels():
    data = encode_jpeg(person(0))
    np.testing.assert_array_equal(decode_rgb(data), decode_image(data))
    for part, expected in ((data[:20], "cannot be read as an image"), (data[:-900], "decoded")):
        with pytest.raises(UserError, match=f"a frame: .*{expected}"):
            decode_rgb(part, "a frame")


@pytest.mark.parametrize(
    ("model", "chunk", "word"),
    [
        ("nosuch", "000", "mediapipe"),
        ("mediapipe", "007", "007.zip"),
        ("rvm", "000", "pass --weights"),
    ],
)
def test_bad_arguments_end_in_one_line(tmp_path, model, chunk, word):
    zipped = write_zip(tmp_path / "000.zip", {1: np.zeros((16, 16, 3), np.uint8)})
    with pytest.raises(UserError, match=word):
        matte_chunk([zipped], chunk, tmp_path / "out.zip", model, 8.0, 4)
    assert not (tmp_path / "out.zip").exists()
