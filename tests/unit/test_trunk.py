"""The trunk's pose: steps between frames, the solve over a clip, and what exports hold of it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

import solve_trunk as script
from headsplat.camera import project
from headsplat.formats.importing.clip import make_track
from headsplat.frames.images import decode_small, encode_jpeg, encode_png
from headsplat.frames.packs import FrameStore, FrameZipWriter
from headsplat.gaussians.raster.triangles import interpolate, rasterize_triangles
from headsplat.heads.bust import bust
from headsplat.rotations import matrix_from_axis_angle
from headsplat.runtime.errors import UserError
from headsplat.synthetic.head.head import procedural_head
from headsplat.track import read_track, write_track
from headsplat.tracking.overlay import Overlay
from headsplat.tracking.trunk.flow import SmallFrame, SmallFrames, follow
from headsplat.tracking.trunk.graph import Poses, Steps, solve_poses
from headsplat.tracking.trunk.measure import TrunkMeter
from headsplat.tracking.trunk.solve import slow_turns, solve_trunk
from headsplat.tracking.trunk.steps import fit_step
from headsplat.tracking.trunk.surface import TrunkSurface

FRAMES, SIZE, FPS = 40, 256, 25.0
CAMERA = np.diag([1.0, -1.0, -1.0])
K = np.array([[2.2 * SIZE, 0, SIZE / 2], [0, 2.2 * SIZE, SIZE / 2], [0, 0, 1]])
PLACE = np.array([0.0, -0.05, 0.9])
STILL = np.tile([1.0, 0, 0, 0, 1, 0], (FRAMES, 1))


def turns(vectors) -> np.ndarray:
    return matrix_from_axis_angle(torch.as_tensor(np.asarray(vectors, np.float64))).numpy()


def degrees(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N,) angle between rotations."""
    cosine = (np.trace(a.transpose(0, 2, 1) @ b, axis1=1, axis2=2) - 1) / 2
    return np.degrees(np.arccos(cosine.clip(-1, 1)))


@pytest.fixture(scope="module")
def head():
    return procedural_head()


@pytest.fixture(scope="module")
def clip(head, tmp_path_factory):
    """A head that turns widely on a trunk that turns little, both with random texture.

    Returns the track without a trunk, the trunk's true pose, and the zips.
    """
    phase = np.arange(FRAMES) / FRAMES * 2 * np.pi
    zero = np.zeros(FRAMES)
    made = bust(head, head.template)
    pivot = made.vertices[:64].mean(0).astype(np.float64)
    shift = np.stack([0.015 * np.sin(phase), zero, 0.01 * np.cos(phase)], 1)

    def pose(yaw: float, pitch: float) -> tuple[np.ndarray, np.ndarray]:
        turn = turns(np.stack([pitch * np.cos(2 * phase), yaw * np.sin(phase), zero], 1))
        return CAMERA @ turn, (pivot + shift - turn @ pivot) @ CAMERA + PLACE

    (R, t), (trunk_R, trunk_t) = pose(0.4, 0.1), pose(0.08, 0.02)
    points = []
    for mesh, turn, place in ((head.template, R, t), (made.vertices, trunk_R, trunk_t)):
        points.append(mesh @ turn.transpose(0, 2, 1) + place[:, None])
    camera = torch.tensor([K[0, 0], K[1, 1], K[0, 2], K[1, 2]], dtype=torch.float32)
    eye = torch.eye(3).expand(FRAMES, 3, 3), torch.zeros(FRAMES, 3)
    screen = project(torch.as_tensor(np.concatenate(points, 1)).float(), *eye, camera)
    faces = np.concatenate([head.faces, made.faces + len(head.template)])
    face, bary = rasterize_triangles(screen, torch.as_tensor(faces), SIZE, SIZE, True)
    noise = np.random.default_rng(4).integers(40, 220, (screen.shape[1], 1)).astype(np.float32)
    gray = interpolate(face, bary, torch.as_tensor(faces), torch.as_tensor(noise)).numpy()
    folder = tmp_path_factory.mktemp("trunk")
    zips = folder / "000.zip", folder / "alpha.zip"
    with FrameZipWriter(zips[0], ".jpg") as images, FrameZipWriter(zips[1], ".png") as mattes:
        for k in range(FRAMES):
            images.add(k + 1, encode_jpeg(np.repeat(gray[k].astype(np.uint8), 3, 2)))
            mattes.add(k + 1, encode_png((face[k] >= 0).numpy().astype(np.uint8) * 255))
    track = make_track(
        head, np.arange(1, FRAMES + 1), np.zeros(head.shape_basis.shape[2]),
        np.zeros((FRAMES, head.expression_basis.shape[2])), STILL, np.tile(STILL, 2),
        np.zeros((FRAMES, 2)), R, t, K, (SIZE, SIZE),
    )  # fmt: skip
    write_track(folder / "track.npz", replace(track, fps=FPS))
    track = read_track(folder / "track.npz", head)
    return track, (trunk_R.astype(np.float32), trunk_t.astype(np.float32)), ([zips[0]], [zips[1]])


def test_solves_the_trunk_under_a_turning_head(head, clip):
    track, (trunk_R, trunk_t), zips = clip
    found = solve_trunk(track, head, *zips, np.ones(FRAMES - 1, bool))
    # Motion is compared, because rest is the clip's median relation of head and trunk.
    moved = found.trunk_R @ found.trunk_R[0].T
    wrong = degrees(moved, trunk_R @ trunk_R[0].T)
    assert degrees(track.R @ track.R[0].T, trunk_R @ trunk_R[0].T).max() > 15
    assert np.median(wrong) < 1.2
    assert wrong.max() < 2.5
    chest = trunk_R @ [0.0, -0.2, 0.0] + trunk_t
    mine = (chest[0] - found.trunk_t[0]) @ moved.transpose(0, 2, 1) + found.trunk_t
    ours, theirs = (p[:, :2] / p[:, 2:] * K[0, 0] for p in (mine, chest))
    assert np.median(np.linalg.norm(ours - theirs, axis=1)) < 1.0
    rest = found.trunk_R.transpose(0, 2, 1) @ track.R
    assert np.median(degrees(rest, np.tile(np.eye(3), (FRAMES, 1, 1)))) < 20
    # The head stays, and the neck is the turn between the two.
    np.testing.assert_array_equal(found.R, track.R)
    first, second = found.neck[:, :3], found.neck[:, 3:]
    neck = np.stack([first, second, np.cross(first, second)], 1)
    np.testing.assert_allclose(found.trunk_R @ neck, track.R, atol=1e-5)


def test_a_stage_completes_imported_tracks(head, clip, tmp_path):
    track, _, (frames, mattes) = clip
    head.save(tmp_path / "head.npz")
    # A number is missing, which counts as a cut.
    cut = np.arange(FRAMES - 1) != 25
    for name, rows, linked in (
        ("whole", np.arange(FRAMES), np.ones(FRAMES - 1, bool)),
        ("gap", np.delete(np.arange(FRAMES), 26), np.delete(cut, 26)),
    ):
        some = track[rows]
        write_track(tmp_path / f"{name}.npz", some)
        asked = [f"--head={tmp_path / 'head.npz'}", f"--track={tmp_path / name}.npz"]
        script.main([
            *asked, "--frames", *map(str, frames), "--alpha", *map(str, mattes),
            f"--out={tmp_path / 'out.npz'}",
        ])  # fmt: skip
        found = read_track(tmp_path / "out.npz", head)
        expected = solve_trunk(some, head, frames, mattes, linked)
        np.testing.assert_allclose(found.trunk_R, expected.trunk_R, atol=1e-6)
        np.testing.assert_allclose(found.trunk_t, expected.trunk_t, atol=1e-6)
        np.testing.assert_array_equal(found.R, some.R)
    script.main([*asked, f"--out={tmp_path / 'stiff.npz'}"])
    assert read_track(tmp_path / "stiff.npz", head).trunk_R is None


def test_a_cut_separates_the_pieces(head, clip):
    """Without steps across the cut, a jump of the trunk is no motion."""
    track, _, zips = clip
    linked = np.ones(FRAMES - 1, bool)
    linked[19] = False
    start = slow_turns(track.R, linked, FPS)
    with SmallFrames(*zips, SIZE) as images:
        meter = TrunkMeter(TrunkSurface(head, track), track, images, Poses(start, track.t), linked)
        steps = [(a, b) for s in meter.measure() for a, b in zip(s.first, s.second, strict=True)]
    assert len(steps) > FRAMES
    assert not [(a, b) for a, b in steps if a < 20 <= b]
    found = solve_trunk(track, head, *zips, linked)
    np.testing.assert_allclose(found.trunk_R @ found.trunk_R.transpose(0, 2, 1), np.tile(
        np.eye(3), (FRAMES, 1, 1)), atol=1e-6)  # fmt: skip


def test_images_of_another_size_are_one_line(head, clip):
    track, _, zips = clip
    other = replace(track, img_size=np.array([128, 128]))
    with pytest.raises(UserError, match="frame 1: the image has 256x256 pixels"):
        solve_trunk(other, head, *zips, np.ones(FRAMES - 1, bool))


def test_overlay_draws_the_bust_where_the_trunk_is(head, clip):
    track, (trunk_R, trunk_t), _ = clip
    points = np.full((FRAMES, 478, 2), np.nan)
    image = np.full((1, SIZE, SIZE, 3), 90, np.uint8)
    row = np.array([10])

    def orange(chosen) -> np.ndarray:
        drawn = Overlay(head, chosen, points).draw(row, image)[0].astype(int)
        return np.argwhere((drawn[..., 0] > 150) & (drawn[..., 2] < 90))

    assert len(orange(track)) == 0
    here = orange(replace(track, trunk_R=trunk_R, trunk_t=trunk_t))
    beside = orange(replace(track, trunk_R=trunk_R, trunk_t=trunk_t + np.float32([0.05, 0, 0])))
    assert len(here) > 200
    assert 40 < beside[:, 1].min() - here[:, 1].min() < 80


def test_steps_are_found_in_spite_of_outliers():
    rng = np.random.default_rng(0)
    points = rng.uniform([-0.2, 0, 0.8], [0.2, 0.15, 0.9], (300, 3))
    center = np.array([0, 0.1, 0.9])
    turn, shift = turns([[0.01, 0.05, -0.02]])[0], np.array([0.004, -0.002, 0.005])
    moved = (points - center) @ turn.T + center + shift
    pixels = moved[:, :2] / moved[:, 2:] * K[0, 0] + SIZE / 2 + rng.normal(0, 0.1, (300, 2))
    pixels[:80] += rng.uniform(-20, 20, (80, 2))
    step = fit_step(points, pixels, np.tile(np.eye(2), (300, 1, 1)), K, center)
    assert degrees(step.turn[None], turn[None])[0] < 0.3
    np.testing.assert_allclose(step.shift, shift, atol=1.5e-3)
    whole = step.matrix()
    np.testing.assert_allclose(
        points @ whole[:3, :3].T + whole[:3, 3],
        (points - center) @ step.turn.T + center + step.shift, atol=1e-12,
    )  # fmt: skip
    assert fit_step(points[:5], pixels[:5], np.tile(np.eye(2), (5, 1, 1)), K, center) is None


def test_flow_follows_texture_and_says_where_there_is_none():
    rng = np.random.default_rng(1)
    image = cv2.GaussianBlur(rng.uniform(0, 255, (128, 128)).astype(np.float32), (0, 0), 2)
    image = cv2.normalize(image, None, 20, 230, cv2.NORM_MINMAX)
    image[:, :40] = 128
    move = np.float32([[1, 0, 3.5], [0, 1, -1.25]])
    second = cv2.warpAffine(image, move, (128, 128), borderMode=cv2.BORDER_REFLECT)
    matte = np.full((128, 128), 255, np.uint8)
    frames = [SmallFrame(i.astype(np.uint8), matte) for i in (image, second)]
    at = np.array([[20.0, 60], [70, 60], [90, 80], [80, 90]])
    found = follow(*frames, at, at + [3, -1])
    np.testing.assert_allclose(found.pixels[1:] - at[1:], [[3.5, -1.25]] * 3, atol=0.15)
    trust = found.information.trace(axis1=1, axis2=2)
    assert trust[0] < 0.1
    assert trust[1:].min() > 1.5


def test_no_matches_where_the_person_left_or_the_image_is_tiny():
    gray = np.random.default_rng(2).integers(0, 255, (128, 128), np.uint8)
    there, gone = np.full_like(gray, 255), np.zeros_like(gray)
    at = np.random.default_rng(3).uniform(30, 90, (20, 2))
    tiny = SmallFrame(gray[:8, :8], there[:8, :8])
    for before, after, points in (
        (SmallFrame(gray, there), SmallFrame(gray, gone), at),
        (SmallFrame(gray, there), SmallFrame(gray, there), at[:0]),
        (tiny, tiny, at / 16),
    ):
        found = follow(before, after, points)
        assert found.pixels.shape == (0, 2)
        assert found.information.shape == (0, 2, 2)
        assert found.kept.shape == (len(points),)
        assert not found.kept.any()


@pytest.mark.parametrize("off", [np.nan, np.inf, 1e4, 1e300])
def test_guesses_far_beyond_the_image_do_not_count(off):
    gray = np.random.default_rng(2).integers(0, 255, (128, 128), np.uint8)
    still = SmallFrame(gray, np.full_like(gray, 255))
    at = np.random.default_rng(3).uniform(30, 90, (20, 2))
    guess = at.copy()
    guess[::2] += off
    found = follow(still, still, at, guess)
    assert found.kept.all()
    np.testing.assert_allclose(found.pixels, at, atol=0.1)


def test_a_person_who_leaves_the_image_has_a_trunk_all_the_same(head, clip, tmp_path):
    track, _, (frames, mattes) = clip
    with FrameStore(mattes) as store, FrameZipWriter(tmp_path / "alpha.zip", ".png") as left:
        for k in store.ids:
            left.add(k, encode_png(np.zeros((SIZE, SIZE), np.uint8)) if k > 25 else store.read(k))
    found = solve_trunk(track, head, frames, [tmp_path / "alpha.zip"], np.ones(FRAMES - 1, bool))
    assert np.isfinite(found.trunk_R).all()
    assert np.isfinite(found.trunk_t).all()


@pytest.mark.parametrize("count", [1, 2, 3, 17, 40])
def test_the_graph_finds_poses_from_exact_steps(count):
    rng = np.random.default_rng(count)
    angle = np.linspace(0, 0.3, count)
    turn = CAMERA @ turns(np.stack([0 * angle, angle, 0 * angle], 1))
    place = np.stack([0.05 * angle, 0 * angle, 0.9 + 0 * angle], 1)
    pairs = [(i, i + d) for d in (1, 16) for i in range(count - d)]
    first, second = np.array(pairs, int).reshape(-1, 2).T
    step = turn[second] @ turn[first].transpose(0, 2, 1)
    center = place[first] + rng.normal(0, 0.02, (len(first), 3))
    shift = place[second] - center - np.einsum("eij,ej->ei", step, place[first] - center)
    information = np.tile(np.diag([1e8] * 3 + [1e10] * 3), (len(first), 1, 1))
    lever = np.array([0, 0.05, 0.0])
    start = Poses(np.tile(turn[:1], (count, 1, 1)), np.tile(place[:1], (count, 1)))
    head = Poses(turn, place + turn @ lever)
    steps = Steps(first, second, step, shift, center, information)
    found = solve_poses(start, head, lever, steps, np.ones(count - 1, bool), FPS)
    assert degrees(found.turn, turn).max() < 0.05
    np.testing.assert_allclose(found.place, place, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3, 100])
def test_slow_turns_keep_what_is_slow(count):
    seconds = np.arange(count) / FPS
    slow = 0.3 * np.sin(2 * np.pi * 0.02 * seconds)
    fast = 0.1 * np.sin(2 * np.pi * 3.0 * seconds)
    vectors = np.stack([0 * slow, slow + fast, 0 * slow], 1)
    found = slow_turns(turns(vectors), np.ones(count - 1, bool), FPS)
    assert np.isfinite(found).all()
    if count == 100:
        vectors[:, 1] = slow
        assert degrees(found, turns(vectors))[10:-10].max() < 1.5


@pytest.mark.parametrize("encode", [encode_jpeg, encode_png])
def test_small_gray_images_are_at_least_as_large_as_asked(encode):
    ramp = np.repeat(np.linspace(0, 255, 96).astype(np.uint8)[None], 64, 0)
    found, width, height = decode_small(encode(np.repeat(ramp[..., None], 3, 2)), 32)
    assert (width, height) == (96, 64)
    assert min(found.shape) >= 32
    across = np.linspace(0, 95, found.shape[1])
    np.testing.assert_allclose(found[5], across / 95 * 255, atol=8)
    with pytest.raises(UserError, match="cannot be read as an image"):
        decode_small(b"none", 32)
