"""The steady cut: decided once per clip, carried by the trunk, soft, without flicker."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from headsplat.frames.images import decode_image, encode_jpeg, encode_png
from headsplat.frames.packs import FrameStore, FrameZipWriter
from headsplat.masks.projected_head import HEAD, NECK, HeadProjector
from headsplat.masks.steady_cut import SteadyCut, decide_cut, soft_side
from headsplat.masks.trunk_view import TrunkView
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish, write_npz
from headsplat.track import read_track
from headsplat.track import write_track as save_track

from .test_masks_parse import (
    DISTANCE,
    FOCAL,
    HAIR,
    SIZE,
    SKIN,
    bust,
    pixel,
    run,
    scene,
    write_inputs,
    write_track,
)

FRAMES, SHIFT = 8, 8


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    track = write_track(tmp_path_factory.mktemp("track") / "track.npz", 1)
    return next(HeadProjector(bust(), track).frames([1], 1.0))


def moved(plane: np.ndarray, columns: int) -> np.ndarray:
    return np.roll(plane, columns, 1)


@pytest.fixture(scope="module")
def clip(tmp_path_factory, mesh):
    """The trunk moves aside under a still head; a piece of the collar changes its color.

    Returns the files, and the clothes of the first frame.
    """
    root = tmp_path_factory.mktemp("clip")
    image, matte, clothes, *_ = scene(mesh, collar=-0.13)
    files = write_inputs(root, mesh, FRAMES)
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    piece = clothes & (np.abs(columns - 128) < 12) & (rows < pixel(-0.13) + 14)
    below = (rows > pixel(-0.125)) & (mesh.parts != HEAD)
    steps = [round(SHIFT * np.sin(2 * np.pi * k / FRAMES)) for k in range(FRAMES)]
    with (
        publish(files["frames"]) as f, FrameZipWriter(f, ".jpg") as frames,
        publish(files["alpha"]) as a, FrameZipWriter(a, ".png") as mattes,
    ):  # fmt: skip
        for k, step in enumerate(steps):
            drawn = image.copy()
            if k % 3 == 1:
                drawn[piece] = SKIN
            there = moved(below, step) | below
            shown = np.where(there[..., None], moved(drawn, step), image)
            frames.add(k + 1, encode_jpeg(shown))
            mattes.add(k + 1, encode_png(np.where(there, moved(matte, step), matte)))
    trunk_t = np.tile(np.float32([0, 0, DISTANCE]), (FRAMES, 1))
    trunk_t[:, 0] = np.array(steps) / FOCAL * (DISTANCE - 0.04)
    pose = {"trunk_R": np.tile(np.diag([1, -1, -1]).astype(np.float32), (FRAMES, 1, 1))}
    write_track(files["track"], FRAMES, **pose, trunk_t=trunk_t)
    sources = files["head"], files["track"], [files["frames"]], [files["alpha"]]
    decide_cut(*sources, files["cut"])
    run(files)
    return files, steps, clothes


def masks_of(path: Path) -> np.ndarray:
    with FrameStore([path]) as store:
        return np.stack([decode_image(store.read(k, "_neckhead")) for k in store.ids])


def lower_edge(mask: np.ndarray, column: int) -> float:
    """Row where the mask ends in a column, to a fraction of a pixel."""
    return float((mask[150:, column] / 255.0).sum()) + 150


def test_no_piece_of_clothing_flickers_and_the_edge_is_soft(clip):
    files, steps, clothes = clip
    masks = masks_of(files["out"])
    edges = np.array([
        [lower_edge(mask, 128 + step + column) for column in range(-16, 17, 4)]
        for mask, step in zip(masks, steps, strict=True)
    ])  # fmt: skip
    # After the trunk's motion the edge stays, although the collar changes its color.
    assert np.abs(edges - np.median(edges, 0)).max() < 1.5
    assert np.median(np.abs(np.diff(edges, axis=0))) < 0.4
    # In a third of the frames the piece below the collar's edge is skin, which shifts the line.
    assert np.abs(np.median(edges) - pixel(-0.13)) < 10
    strip = masks[0][int(pixel(-0.13)) - 12 : int(pixel(-0.13)) + 12, 128]
    assert 2 <= ((strip > 5) & (strip < 250)).sum() <= 10
    assert (np.diff(strip.astype(int)) <= 0).all()


def test_head_and_neck_are_in_and_clothes_are_out(clip, mesh):
    files, steps, clothes = clip
    for mask, step in zip(masks_of(files["out"]), steps, strict=True):
        rows = np.arange(SIZE)[:, None] + 0.5
        assert (mask[mesh.parts == HEAD] > 250).mean() > 0.97
        bare = (mesh.parts == NECK) & (rows < pixel(-0.13) - 6)
        assert (mask[bare] > 127).mean() > 0.95
        worn = moved(clothes, step) & (mesh.parts != HEAD) & (rows > pixel(-0.13) + 6)
        assert (mask[worn] > 127).mean() < 0.04


def test_chunks_do_not_matter(clip, tmp_path):
    """Frames parsed alone are equal to those of the whole clip."""
    files, *_ = clip
    whole = masks_of(files["out"])
    part = dict(files, out=tmp_path / "part.zip")
    for name, suffix in (("frames", ".jpg"), ("alpha", ".png")):
        part[name] = tmp_path / f"{name}.zip"
        with (
            FrameStore([files[name]]) as store, publish(part[name]) as t,
            FrameZipWriter(t, suffix) as pack,
        ):  # fmt: skip
            for k in (4, 5):
                pack.add(k, store.read(k))
    run(part)
    np.testing.assert_array_equal(masks_of(part["out"]), whole[3:5])


def test_hair_that_swings_beside_the_neck_stays_in(tmp_path, mesh):
    image, matte, *_, strands = scene(mesh, long_hair=True)
    files = write_inputs(tmp_path, mesh, 4)
    rows = np.arange(SIZE)[:, None] + 0.5
    beside = (rows > pixel(-0.05)) & (mesh.parts == 0)
    steps = (0, 4, 0, -4)
    with (
        publish(files["frames"]) as f, FrameZipWriter(f, ".jpg") as frames,
        publish(files["alpha"]) as a, FrameZipWriter(a, ".png") as mattes,
    ):  # fmt: skip
        for k, step in enumerate(steps, 1):
            swung = moved(strands, step) & beside
            frames.add(k, encode_jpeg(np.where(swung[..., None], np.uint8(HAIR), image)))
            mattes.add(k, encode_png(np.where(swung, np.uint8(255), matte)))
    sources = files["head"], files["track"], [files["frames"]], [files["alpha"]]
    decide_cut(*sources, files["cut"])
    run(files)
    for mask, step in zip(masks_of(files["out"]), steps, strict=True):
        assert (mask[moved(strands, step) & beside] > 127).mean() > 0.9


def test_the_view_carries_planes_to_and_fro(clip):
    files, steps, _ = clip
    head = bust()
    view = TrunkView(head, files["track"])
    rows, columns = np.mgrid[: view.side, : view.side] + 0.5
    planes = np.stack([rows, columns], -1).astype(np.float32)
    ids = [1, 3, 7]
    for frame, carried in zip(ids, view.carried(ids, planes), strict=True):
        back = view.seen(frame, carried)
        inner = (slice(90, 260), slice(110, 270))
        np.testing.assert_allclose(back[inner], planes[inner], atol=0.15)
    shift = [c[200, 128, 1] for c in view.carried([1, 3], planes)]
    assert shift[0] - shift[1] == pytest.approx(steps[2] - steps[0], abs=1)
    with pytest.raises(UserError, match="lacks frame 99"):
        TrunkView(head, files["track"], 99)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("behind", r"track.npz: the person is behind the camera in frame 2; track the clip again"),
        ("twice", "has no frames, or one of them twice"),
        ("empty", "has no frames, or one of them twice"),
        ("size", "frame 1: image or matte has 256 x 256 pixels, the track 128 x 128"),
    ],
)
def test_clips_whose_cut_cannot_be_decided_are_one_line(clip, tmp_path, change, expected):
    files, *_ = clip
    track = read_track(files["track"])
    if change == "behind":
        away = track.trunk_t.copy()
        away[1, 2] *= -1
        track = replace(track, trunk_t=away)
    if change == "twice":
        track = replace(track, ids=np.where(track.ids == 2, 1, track.ids))
    if change == "empty":
        track = track[:0]
    if change == "size":
        track = replace(track, img_size=np.array([128, 128]))
    save_track(tmp_path / "track.npz", track)
    sources = files["head"], tmp_path / "track.npz", [files["frames"]], [files["alpha"]]
    with pytest.raises(UserError, match=expected) as error:
        decide_cut(*sources, tmp_path / "cut.npz")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "cut.npz").exists()


def test_a_damaged_cut_is_one_line(clip, tmp_path):
    files, *_ = clip
    cut = SteadyCut.load(files["cut"])
    path = tmp_path / "neck_cut.npz"
    good = {"distance": cut.distance, "hair": cut.hair, "reference": 1, "size": cut.size}
    for name, value in (
        ("distance", np.full_like(cut.distance, np.nan)), ("hair", cut.hair[:-1]), ("size", np.inf),
        ("size", 0.0), ("distance", cut.distance.astype(str)), ("reference", "one"),
        ("reference", 1.7), ("reference", 1e300), ("reference", np.uint64(2**64 - 1)),
        ("distance", np.full(cut.distance.shape, -1e300)), ("hair", cut.hair / 255),
        ("distance", np.zeros((5000, 5000), np.uint8)),
    ):  # fmt: skip
        write_npz(path, **{k: np.asarray(v) for k, v in (good | {name: value}).items()})
        with pytest.raises(UserError, match=r"neck_cut.npz: is not a cut") as caught:
            SteadyCut.load(path)
        assert "\n" not in str(caught.value)
    SteadyCut(cut.distance[:50, :50], cut.hair[:50, :50], 1, cut.size).save(path)
    with pytest.raises(UserError, match="decide the cut again"):
        run(files | {"cut": path, "out": tmp_path / "parsing.zip"})
    assert not (tmp_path / "parsing.zip").exists()


def test_the_soft_side_is_half_at_the_line():
    found = soft_side(np.array([-50.0, 0, 50]), 100.0)
    np.testing.assert_allclose(found, [1, 0.5, 0])
