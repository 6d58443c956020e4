"""Matte edges against synthetic ground truth: foreground colors, haze, small regions."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from headsplat.frames.images import encode_jpeg, encode_png
from headsplat.frames.packs import FrameZipWriter
from headsplat.masks.color_sampling import sampled_matte
from headsplat.masks.foreground import foreground_colors
from headsplat.masks.guided_filter import GuidedFilter
from headsplat.masks.refine import (
    refine_edges,
    remove_small_regions,
    remove_tufts,
    trim_shoulders,
)
from headsplat.masks.strands import add_strands
from headsplat.runtime.files import publish
from headsplat.train.dataset import ImageReader

SIZE = 256
HAIR, SKIN, WALL = (70, 42, 25), (205, 155, 125), (90, 190, 110)


def tousled(seed: int = 0) -> np.ndarray:
    """(SIZE, SIZE) float32 alpha of a head with loose strands, blurred as by a lens."""
    rng = np.random.default_rng(seed)
    fine = np.zeros((4 * SIZE, 4 * SIZE), np.uint8)
    cv2.circle(fine, (512, 540), 300, 255, -1)
    for angle in rng.uniform(-np.pi, 0, 150):
        direction = np.array([np.cos(angle + rng.normal(0, 0.3)), np.sin(angle)])
        root = np.array([512, 540]) + 290 * np.array([np.cos(angle), np.sin(angle)])
        tip = root + rng.uniform(20, 60) * direction
        cv2.line(fine, root.astype(int).tolist(), tip.astype(int).tolist(), 255, 3)
    small = cv2.resize(fine, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small.astype(np.float32) / 255, (0, 0), 0.8)


def subject() -> np.ndarray:
    """(SIZE, SIZE, 3) float32 colors: textured brown hair above, skin below."""
    rng = np.random.default_rng(1)
    colors = np.broadcast_to(np.array(HAIR, np.float32), (SIZE, SIZE, 3)).copy()
    colors[150:] = SKIN
    grain = cv2.GaussianBlur(rng.normal(0, 12, (SIZE, SIZE)).astype(np.float32), (0, 0), 2)
    return cv2.GaussianBlur(colors, (0, 0), 3) + 3 * grain[..., None]


def over(colors: np.ndarray, alpha: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    share = alpha[..., None]
    return share * colors + (1 - share) * np.array(background, np.float32)


def filmed(alpha: np.ndarray) -> np.ndarray:
    """(SIZE, SIZE, 3) uint8: the subject in front of a wall, with camera noise."""
    noise = np.random.default_rng(2).normal(0, 1.5, (SIZE, SIZE, 3))
    return np.clip(over(subject(), alpha, WALL) + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0)])
def test_foreground_colors_have_no_background_halo(background):
    alpha = tousled()
    image, matte = filmed(alpha), np.rint(alpha * 255).astype(np.uint8)
    soft = (matte > 5) & (matte < 250)
    assert soft.sum() > 1000
    ground_truth = over(subject(), alpha, background)

    def halo(colors: np.ndarray) -> float:
        return float(np.abs(over(colors, alpha, background) - ground_truth)[soft].mean())

    found = foreground_colors(image, matte)
    assert halo(image) > 10
    assert halo(found) < 0.35 * halo(image)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[(matte == 0) | (matte == 255)],
                                  image[(matte == 0) | (matte == 255)])  # fmt: skip


def test_a_hard_matte_changes_no_color():
    image = filmed(tousled())
    matte = np.where(tousled() > 0.5, np.uint8(255), np.uint8(0))
    np.testing.assert_array_equal(foreground_colors(image, matte), image)


def test_a_matte_that_is_soft_everywhere_gives_finite_colors():
    image = filmed(tousled())
    found = foreground_colors(image, np.full((SIZE, SIZE), 1, np.uint8))
    assert np.abs(found.astype(float) - image).mean() < 128


def test_targets_are_composited_without_the_old_background(tmp_path: Path):
    alpha = tousled()
    whole = np.full((SIZE, SIZE), 255, np.uint8)
    zips = [tmp_path / name for name in ("frames.zip", "alpha.zip", "parsing.zip")]
    with publish(zips[0]) as t, FrameZipWriter(t, ".jpg") as pack:
        pack.add(1, encode_jpeg(filmed(alpha)))
    with publish(zips[1]) as t, FrameZipWriter(t, ".png") as pack:
        pack.add(1, encode_png(np.rint(alpha * 255).astype(np.uint8)))
    with publish(zips[2]) as t, FrameZipWriter(t, ".png") as pack:
        pack.add(1, encode_png(whole), role="_neckhead")
        pack.add(1, encode_png(whole), role="_mouth")
    reader = ImageReader(*([path] for path in zips), SIZE, SIZE)
    planes = reader.read(1)
    reader.close()
    share = planes[..., 3].astype(np.float32) / 255
    white = over(planes[..., :3].astype(np.float32), share, (255, 255, 255))
    soft = (share > 0.02) & (share < 0.98)
    ground_truth = over(subject(), alpha, (255, 255, 255))
    naive = over(filmed(alpha).astype(np.float32), share, (255, 255, 255))
    assert (
        np.abs(white - ground_truth)[soft].mean() < 0.45 * np.abs(naive - ground_truth)[soft].mean()
    )


@pytest.mark.parametrize(
    ("height", "width", "radius", "scale"), [(128, 160, 9, 0.5), (96, 128, 4, 1), (75, 101, 5, 0.5)]
)
def test_the_guided_filter_is_opencvs(height, width, radius, scale):
    random = np.random.default_rng(0)
    guide = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    guide = cv2.convertScaleAbs(cv2.GaussianBlur(guide, (0, 0), 3), alpha=3, beta=-256)
    image = cv2.GaussianBlur((random.random((height, width)) > 0.5).astype(np.float32), (0, 0), 4)
    expected = cv2.ximgproc.createGuidedFilter(guide, radius, 6.5, scale=scale).filter(image)
    found = GuidedFilter(guide, radius, 6.5, scale)(image)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_second_filter_pass_reduces_haze():
    alpha = tousled()
    image = filmed(alpha)
    # A network's mask, accurate to some pixels only.
    coarse = cv2.GaussianBlur(np.roll(alpha, (1, -2), (0, 1)), (0, 0), 3)
    one = cv2.ximgproc.guidedFilter(image, coarse, radius=4, eps=1e-4 * 255.0**2, scale=0.5)
    one = np.clip((one - 0.15) / 0.7, 0, 1)
    two = refine_edges(image, coarse, radius=8)
    outside = alpha < 0.01
    assert two[outside].sum() < 0.6 * one[outside].sum()
    assert np.abs(sampled_matte(image, two) - alpha).sum() < 0.8 * np.abs(one - alpha).sum()


def test_colors_decide_the_soft_edge():
    alpha = tousled()
    image = filmed(alpha)
    coarse = cv2.GaussianBlur(np.roll(alpha, (1, -2), (0, 1)), (0, 0), 3)
    first = refine_edges(image, coarse, radius=8)
    found = sampled_matte(image, first)
    assert found.dtype == np.float32
    assert 0 <= found.min() <= found.max() <= 1
    assert np.abs(found - alpha).sum() < 0.7 * np.abs(first - alpha).sum()
    same = np.full((SIZE, SIZE, 3), 90, np.uint8)
    changed = np.abs(sampled_matte(same, first) - first)
    assert changed.max() < 0.1, "equal colors decide nothing"


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_first_matte_without_an_edge_is_kept(value):
    first = np.full((SIZE, SIZE), value, np.float32)
    image = filmed(tousled())
    np.testing.assert_array_equal(sampled_matte(image, first), first)
    np.testing.assert_array_equal(add_strands(image, first), first)


def bust() -> tuple[np.ndarray, np.ndarray]:
    """Image and matte, 512 px, of a head on shoulders, both without loose hair."""
    matte = np.zeros((512, 512), np.uint8)
    cv2.circle(matte, (256, 220), 110, 255, -1)
    cv2.ellipse(matte, (256, 512), (230, 150), 0, 0, 360, 255, -1)
    cv2.rectangle(matte, (210, 300), (300, 400), 255, -1)
    image = np.where(matte[..., None] > 0, np.uint8(HAIR), np.uint8(WALL)).copy()
    return image, matte.astype(np.float32) / 255


def test_loose_hair_is_found_at_the_head_and_nowhere_else():
    image, matte = bust()
    lines = {"hair": ((330, 140), (352, 118)), "shoulder": ((430, 415), (440, 380)),
             "apart": ((120, 100), (135, 85))}  # fmt: skip
    drawn = {}
    for name, (start, end) in lines.items():
        drawn[name] = cv2.line(np.zeros(matte.shape, np.uint8), start, end, 255, 2)
        image[drawn[name] > 0] = HAIR
    found = add_strands(cv2.GaussianBlur(image, (0, 0), 0.7), matte)
    assert (found >= matte).all()

    def covered(name: str) -> float:
        return float(found[(drawn[name] > 0) & (matte == 0)].mean())

    assert covered("hair") > 0.5
    assert covered("shoulder") < 0.05
    assert covered("apart") < 0.05
    off = (matte == 0) & (cv2.dilate(sum(drawn.values()), np.ones((9, 9))) == 0)
    assert found[off].mean() < 0.002


def test_spikes_are_cut_off_at_the_shoulders_only():
    _, bare = bust()
    bare = np.rint(255 * bare).astype(np.uint8)
    spiky = bare.copy()
    cv2.line(spiky, (474, 470), (505, 440), 255, 3)
    cv2.line(spiky, (330, 140), (352, 118), 255, 3)
    found = trim_shoulders(spiky)
    assert (found <= spiky).all()
    np.testing.assert_array_equal(found[:250], spiky[:250])
    low = slice(370, 512)
    assert (
        np.abs(found[low].astype(int) - bare[low]).sum()
        < 0.1 * (spiky[low] > bare[low]).sum() * 255
    )
    flat = np.zeros((64, 64), np.uint8)
    np.testing.assert_array_equal(trim_shoulders(flat), flat)


def test_broad_objects_of_the_same_color_are_no_hair():
    image, matte = bust()
    image[60:140, 340:400] = HAIR
    found = add_strands(cv2.GaussianBlur(image, (0, 0), 1.0), matte)
    assert found[70:130, 360:390].max() < 0.1


def test_small_regions_are_removed_and_gaps_and_strands_kept():
    clean = np.zeros((512, 512), np.uint8)
    cv2.circle(clean, (256, 300), 160, 255, -1)
    clean[300:330, 220:240] = 0  # a gap: 600 pixels
    clean[80:90, 300:312] = 200  # a loose strand: 120 pixels
    dirty = clean.copy()
    dirty[20:25, 20:25] = 120
    dirty[500, 500] = 255
    dirty[0:3, 100:104] = 40
    dirty[260:267, 250:256] = 0
    dirty[400, 256] = 128
    np.testing.assert_array_equal(remove_small_regions(dirty), clean)
    np.testing.assert_array_equal(remove_small_regions(clean), clean)


@pytest.mark.parametrize("value", [0, 255])
def test_uniform_matte_is_unchanged(value):
    matte = np.full((64, 64), value, np.uint8)
    np.testing.assert_array_equal(remove_small_regions(matte), matte)


def test_soft_tufts_are_removed_and_thin_hair_stays():
    body = np.zeros((512, 512), np.uint8)
    cv2.circle(body, (256, 256), 120, 255, -1)
    tufts, hair = body.copy(), body.copy()
    cv2.circle(tufts, (256 + 134, 256), 16, 130, -1)
    cv2.circle(tufts, (60, 400), 20, 100, -1)
    tufts = np.maximum(tufts, body)
    for x in range(200, 320, 20):
        cv2.line(hair, (x, 160), (x, 100), 150, 2)
    found = remove_tufts(tufts)
    assert found[390:410, 50:70].max() == 0
    assert found[380:421, 40:81].sum() < 0.1 * tufts[380:421, 40:81].sum()
    assert found[256, 256 + 140] < 20
    np.testing.assert_array_equal(remove_tufts(hair), hair)
    np.testing.assert_array_equal(remove_tufts(body), body)
