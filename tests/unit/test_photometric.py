"""Photometric refinement: exact parts, and small clips against ground truth."""

import numpy as np
import pytest
import torch

from benchmarks.photometric import run
from benchmarks.synthetic_clips import Footage, SyntheticClip
from headsplat.camera import project
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import matrix_from_axis_angle
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_json
from headsplat.synthetic.head.head import procedural_head
from headsplat.track import read_track
from headsplat.tracking.basis import LandmarkBasis
from headsplat.tracking.layout import Layout, State, eye_vectors
from headsplat.tracking.observations import read_observations
from headsplat.tracking.photometric.color import fit_appearance, fit_shade, harmonics
from headsplat.tracking.photometric.images import BrightnessReader, sample_planes
from headsplat.tracking.photometric.refine import (
    RefinementErrors,
    common_motions,
    remove_common_motion,
)
from headsplat.tracking.photometric.run import refine_track, state_of
from headsplat.tracking.photometric.surface import SurfacePoints, skin_points
from headsplat.tracking.photometric.visibility import Visibility
from headsplat.tracking.priors import build_priors
from headsplat.tracking.solve_checkpoint import SolveCheckpoint
from headsplat.tracking.solver import ClipSolver
from headsplat.tracking.terms import Terms

SIZE, FOCAL, FRAMES = 256, 700.0, 40


@pytest.fixture(scope="module")
def face():
    head = procedural_head()
    basis = LandmarkBasis(head)
    layout = Layout(len(basis.bounds), basis.identity_space.matrix.shape[1])
    return head, basis, layout, SurfacePoints(head, basis, layout, skin_points(head, 400))


@pytest.fixture
def state(face):
    layout = face[2]
    generator = torch.Generator().manual_seed(1)
    frame = 0.2 * torch.rand(2, layout.frame_size, generator=generator, dtype=torch.float64)
    frame[:, layout.turn] = 0
    frame[:, layout.place] = torch.tensor([4.0, -6.0, 6.6], dtype=torch.float64)
    turn = torch.tensor([[0.1, 0.4, 0.0], [0.0, -0.3, 0.1]], dtype=torch.float64)
    rotation = matrix_from_axis_angle(turn) @ torch.diag(torch.tensor([1.0, -1, -1]).double())
    shared = 0.5 * torch.randn(layout.shared_size, generator=generator, dtype=torch.float64)
    shared[layout.focal] = np.log(FOCAL)
    return State(frame, rotation, shared)


def vertices(face, state):
    head, basis, layout, _ = face
    geometry = HeadGeometry(head, dtype=torch.float64)
    frame = state.frame
    shape = basis.identity_space.coefficients(state.shared[layout.identity].numpy())
    exp = basis.expression_space.coefficients(frame[:, layout.expression].numpy())
    return geometry.vertices(
        torch.as_tensor(shape), torch.as_tensor(exp),
        matrix_from_axis_angle(frame[:, layout.jaw]),
        matrix_from_axis_angle(eye_vectors(frame[:, layout.eyes])), frame[:, layout.lids],
    )  # fmt: skip


def test_points_lie_on_the_mesh(face, state):
    head, _, layout, points = face
    camera = torch.tensor([FOCAL, FOCAL, 0.0, 0.0], dtype=torch.float64)
    pixels = project(vertices(face, state), state.rotation, state.translation(layout), camera)
    # Pixels of surface points are not barycentric in pixels: go through the camera's meters.
    corners = torch.as_tensor(head.faces).long()[points.face]
    meters = vertices(face, state)[:, corners]
    placed = (meters * points.barycentric[..., None]).sum(2)
    expected = project(placed, state.rotation, state.translation(layout), camera)[..., :2]
    torch.testing.assert_close(points.place(state).pixels.double(), expected, atol=1e-2, rtol=0)
    assert pixels.shape[1] == len(head.template)


def test_derivatives_match_finite_differences(face, state):
    layout, points = face[2], face[3]
    slope = torch.randn(2, len(points), 2, generator=torch.Generator().manual_seed(2))
    placed = points.place(state)
    pull = points.along(placed, state, slope)
    columns = torch.cat(
        [points.frame_rows(placed, state, slope, pull), points.identity_rows(pull[2])], 2
    )
    size = layout.frame_size
    for column in range(columns.shape[2]):
        if column < layout.n_expression and not points.shown[column]:
            assert (columns[..., column] == 0).all()
            continue
        step = 0.1 if layout.place.start <= column < layout.place.stop - 1 else 2e-3
        change = torch.zeros(size + layout.shared_size, dtype=torch.float64)
        change[column] = step
        ahead, behind = (
            points.place(state.moved(layout, sign * change[:size].expand(2, -1),
                                     sign * change[size:])).pixels
            for sign in (1, -1)
        )  # fmt: skip
        numeric = ((ahead - behind) / (2 * step) * slope).sum(-1)
        scale = columns[..., column].abs().max() + 1
        assert (numeric - columns[..., column]).abs().max() / scale < 0.02, column


def test_common_motions_move_all_frames_alike(face, state):
    """A shift in the head's own axes is the same motion of the camera-frame translation."""
    layout = face[2]
    motions = common_motions(state, layout)
    shift = torch.tensor([1e-4, -2e-4, 3e-4], dtype=torch.float64)
    step = torch.zeros_like(state.frame)
    step[:, layout.place] = motions[:, :, :3] @ shift
    moved = state.moved(layout, step, torch.zeros_like(state.shared))
    change = moved.translation(layout) - state.translation(layout)
    torch.testing.assert_close(change, state.rotation @ shift, atol=1e-6, rtol=0)


def test_common_motion_is_removed(plain):
    """A common turn and shift of all frames along the head's axes is removed."""
    clip, folder, _ = plain
    observed = read_observations(
        *(folder / n for n in ("landmarks.npz", "crop.json", "frames.tsv"))
    )
    track = read_track(folder / "landmark_track.npz")
    basis = LandmarkBasis(clip.head)
    layout = Layout(len(basis.bounds), basis.identity_space.matrix.shape[1])
    terms = Terms(basis, layout, observed)
    focal = float(np.log(track.K[0, 0]))
    frames = torch.arange(len(observed.ids))
    priors = build_priors(basis, layout, observed.size, focal, observed.fps)
    solver = ClipSolver(terms, priors, frames, torch.as_tensor(observed.linked))
    start = state_of(track, basis, layout)
    best = remove_common_motion(solver, start, start, 4.0)
    turn = matrix_from_axis_angle(torch.tensor([0.01, -0.02, 0.0], dtype=torch.float64))
    shift = torch.tensor([0.002, 0.001, -0.002], dtype=torch.float64)
    away = best.frame.clone()
    away[:, layout.place] += common_motions(best, layout)[:, :, :3] @ shift
    found = remove_common_motion(solver, State(away, best.rotation @ turn, best.shared), start, 4.0)
    torch.testing.assert_close(found.rotation, best.rotation, atol=1e-9, rtol=0)
    assert (away - best.frame).abs().max() > 0.5
    torch.testing.assert_close(found.frame, best.frame, atol=0.05, rtol=0)


def test_look_up_keeps_pixel_centers_and_slopes():
    row, column = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    ramp = (column + 0.5) * 2 + (row + 0.5)
    planes = torch.stack([ramp, torch.full_like(ramp, 255)])[None].to(torch.uint8)
    where = torch.tensor([[[20.3, 31.7], [40.0, 12.0], [-5.0, 3.0]]])
    for factor in (1, 2, 4):
        value, slope, matte = sample_planes(planes, where, factor)
        expected = where[0, :2, 0] * 2 + where[0, :2, 1]
        torch.testing.assert_close(value[0, :2] * 255, expected, atol=0.6, rtol=0)
        torch.testing.assert_close(
            slope[0, :2] * 255, torch.tensor([[2.0, 1.0]] * 2), atol=0.05, rtol=0
        )
        assert matte[0].tolist() == pytest.approx([1, 1, 0], abs=1e-3)


def test_albedo_and_light_are_separated():
    generator = torch.Generator().manual_seed(0)
    albedo = 0.3 + 0.5 * torch.rand(300, generator=generator)
    base = torch.nn.functional.normalize(torch.randn(300, 3, generator=generator), dim=-1)
    turns = matrix_from_axis_angle(0.5 * torch.randn(40, 3, generator=generator))
    normal = base @ turns.mT
    light = torch.tensor([0.8, 0.15, -0.2, -0.25, 0.03, 0.0, 0.02, 0.04, 0.02])
    gain = 1 + 0.1 * torch.randn(40, 1, generator=generator)
    value = albedo * (harmonics(normal) @ light) * gain
    weight = torch.ones_like(value)
    weight[:, 7] = 0
    color = fit_appearance(value, normal, weight)
    seen = albedo / color.albedo
    assert (seen / seen.median() - 1)[color.known > 0].abs().max() < 0.03
    assert color.known[7] == 0
    left = value - color.albedo * fit_shade(value, color, normal, weight)
    assert left[:, color.known > 0].abs().median() < 0.003


def test_occluded_points_are_invisible(face, state):
    head, basis, layout, points = face
    visibility = Visibility(head, basis, layout, points, SIZE, (SIZE / 2, SIZE / 2))
    turn = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.2, 0.0]], dtype=torch.float64)
    rotation = matrix_from_axis_angle(turn) @ torch.diag(torch.tensor([1.0, -1, -1]).double())
    shows, normal = visibility(State(state.frame, rotation, state.shared))
    rest = torch.as_tensor(head.template)[torch.as_tensor(head.faces).long()[points.face]].mean(1)
    # Of the turned head one cheek is seen and the other is not.
    near, far = (shows[1, side * rest[:, 0] > 0.03].mean() for side in (1, -1))
    assert min(near, far) < 0.02
    assert max(near, far) > 0.4
    assert shows[0].mean() > 0.5
    torch.testing.assert_close(normal.norm(dim=-1), torch.ones(2, len(points)))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    clip = SyntheticClip(procedural_head(), FRAMES, Footage(size=SIZE), seed=1)
    folder = tmp_path_factory.mktemp("plain")
    return clip, folder, run(clip, folder, "cpu", "auto")


def test_refinement_reduces_the_error(plain):
    before, after = plain[2]["before"], plain[2]["after"]
    assert after["turn_degrees"] < before["turn_degrees"]
    assert after["turn_spread_degrees"] < 0.7 * before["turn_spread_degrees"]
    assert after["jaw_degrees"] < 0.7 * before["jaw_degrees"]
    assert after["lids_correlation"] > before["lids_correlation"] - 0.02


@pytest.mark.parametrize(
    ("skin", "landmarks", "width", "better"),
    [
        ((0.100, 0.087), (0.29, 0.50), 512, True),  # less than a pixel of 512, skin much better
        ((0.100, 0.087), (0.29, 0.50), 256, True),
        ((0.100, 0.087), (0.29, 0.51), 256, False),
        ((0.100, 0.087), (4.0, 4.9), 512, True),
        ((0.100, 0.087), (4.0, 5.1), 512, False),
        ((0.100, 0.098), (0.29, 0.29), 512, False),
    ],
)
def test_a_refinement_is_taken_if_skin_improves_and_landmarks_stay(skin, landmarks, width, better):
    assert RefinementErrors(skin, landmarks, width).better == better


def test_an_occluder_does_not_pull_the_pose(tmp_path):
    footage = Footage(size=SIZE, occluder="hand")
    clip = SyntheticClip(procedural_head(), FRAMES, footage, seed=1)
    result = run(clip, tmp_path, "cpu", "always")
    before, after = result["before"], result["after"]
    for name in ("turn_spread_degrees", "jaw_degrees"):
        assert after[name] < before[name], name


def test_uninformative_images_keep_the_track(plain, tmp_path, caplog):
    """With noise in place of the face, the refined track is rejected."""
    clip, folder, _ = plain
    names = ("head.npz", "landmark_track.npz", "landmarks.npz", "crop.json", "frames.tsv")

    class Noise(SyntheticClip):
        def images(self, rows):
            _, matte = super().images(rows)
            generator = torch.Generator().manual_seed(int(rows[0]))
            shape = (*matte.shape, 3)
            noise = torch.randint(60, 200, shape, generator=generator, dtype=torch.uint8)
            return noise, matte

    Noise(clip.head, FRAMES, clip.footage, seed=1).write(tmp_path)
    out = tuple(tmp_path / name for name in ("out.npz", "identity.npy", "refinement.json"))
    zips = [sorted((tmp_path / name).glob("*.zip")) for name in ("frames", "alpha")]
    with caplog.at_level("INFO", "headsplat"):
        refine_track(*(folder / name for name in names), *zips, *out, device="cpu")
    verdict = read_json(out[2])
    assert verdict["taken"] is False
    assert "the landmarks' track stays" in caplog.text
    kept, track = read_track(folder / "landmark_track.npz"), read_track(out[0])
    for name in ("R", "t", "exp", "jaw", "shape"):
        np.testing.assert_array_equal(getattr(track, name), getattr(kept, name))


def test_state_of_a_track_round_trips(plain):
    clip, folder, _ = plain
    track = read_track(folder / "landmark_track.npz")
    basis = LandmarkBasis(clip.head)
    layout = Layout(len(basis.bounds), basis.identity_space.matrix.shape[1])
    state = state_of(track, basis, layout)
    np.testing.assert_allclose(state.rotation.numpy(), track.R, atol=1e-6)
    np.testing.assert_allclose(state.translation(layout).numpy(), track.t, atol=1e-6)
    shape = basis.identity_space.coefficients(state.shared[layout.identity].numpy())
    np.testing.assert_allclose(shape, track.shape, atol=1e-5)
    exp = basis.expression_space.coefficients(state.frame[:, layout.expression].numpy())
    np.testing.assert_allclose(exp, track.exp, atol=1e-5)


def test_a_resumed_refinement_is_bit_equal(plain, tmp_path, monkeypatch):
    folder = plain[1]
    names = ("head.npz", "landmark_track.npz", "landmarks.npz", "crop.json", "frames.tsv")
    zips = [sorted((folder / name).glob("*.zip")) for name in ("frames", "alpha")]
    out = tuple(tmp_path / name for name in ("out.npz", "identity.npy", "refinement.json"))
    keep = SolveCheckpoint.save

    def dies(self, stage, progress):
        keep(self, stage, progress)
        raise KeyboardInterrupt

    def refine():
        inputs = (folder / name for name in names)
        refine_track(*inputs, *zips, *out, scratch=tmp_path / "scratch", device="cpu")

    monkeypatch.setattr(SolveCheckpoint, "save", dies)
    with pytest.raises(KeyboardInterrupt):
        refine()
    assert not out[0].exists()
    monkeypatch.setattr(SolveCheckpoint, "save", keep)
    refine()
    assert out[0].read_bytes() == (folder / "track.npz").read_bytes()
    assert not list((tmp_path / "scratch").iterdir())


def test_images_of_another_size_are_refused(plain):
    zips = sorted((plain[1] / "frames").glob("*.zip"))
    with (
        BrightnessReader(zips, [], 128) as images,
        pytest.raises(UserError, match="256x256 pixels, the track was made for 128x128"),
    ):
        images.read([1])
