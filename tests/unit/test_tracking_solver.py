"""The solver against dense algebra, finite differences and the head model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.synthetic_tracks import detect, make_ground_truth, write_inputs
from headsplat.camera import project
from headsplat.heads.landmarks import contour_points, pick, points
from headsplat.heads.skinning import HeadGeometry
from headsplat.rotations import axis_angle_from_matrix, matrix_from_axis_angle
from headsplat.synthetic.head.head import procedural_head
from headsplat.tracking.banded import factorize, pair_blocks
from headsplat.tracking.basis import LandmarkBasis
from headsplat.tracking.initial import initial_state
from headsplat.tracking.layout import Layout, State, eye_vectors
from headsplat.tracking.observations import read_observations
from headsplat.tracking.priors import CONTOUR_NOISE, Priors, Smoothness, contour_share
from headsplat.tracking.projection import LandmarkView, Projector
from headsplat.tracking.solver import ClipSolver, SolveProgress
from headsplat.tracking.terms import Terms, _nearest_lines

FLIP = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))


@pytest.fixture(scope="module")
def head():
    """The procedural head, with pose correctives put in so that they are tested too."""
    model = procedural_head()
    rng = np.random.default_rng(0)
    correctives = rng.normal(size=(len(model.template), 3, 36)) * 1e-3
    # Eyes do not move the jaw line, here as in FLAME.
    correctives[:, :, 18:] *= (model.template[:, 2] > 0.05)[:, None, None]
    return replace(model, pose_basis=correctives.astype(np.float32))


@pytest.fixture(scope="module")
def setup(head):
    basis = LandmarkBasis(head)
    layout = Layout(len(basis.bounds), basis.identity_space.matrix.shape[1])
    generator = torch.Generator().manual_seed(0)

    def normal(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    frame = torch.zeros(3, layout.frame_size, dtype=torch.float64)
    frame[:, layout.expression] = normal(3, layout.n_expression).abs() * 0.2
    frame[:, layout.jaw] = normal(3, 3) * 0.1
    frame[:, layout.eyes] = normal(3, 4) * 0.2
    frame[:, layout.lids] = normal(3, 2).abs() * 0.3
    frame[:, layout.place] = torch.tensor([10.0, 20.0, 7.3]) + normal(3, 3) * 0.1
    shared = normal(layout.shared_size) * 0.5
    shared[layout.focal] = np.log(1200.0)
    state = State(frame, FLIP @ matrix_from_axis_angle(normal(3, 3) * 0.3), shared)
    return basis, layout, state


def posed(head, basis, layout, state):
    shape = basis.identity_space.coefficients(state.shared[layout.identity].numpy())
    return HeadGeometry(head, dtype=torch.float64).vertices(
        torch.as_tensor(shape),
        state.frame[:, layout.expression],
        matrix_from_axis_angle(state.frame[:, layout.jaw]),
        matrix_from_axis_angle(eye_vectors(state.frame[:, layout.eyes])),
        state.frame[:, layout.lids],
    )


def test_restricted_landmarks_are_those_of_the_head(head, setup):
    basis, layout, state = setup
    vertices = posed(head, basis, layout, state)
    camera = torch.tensor([1200.0, 1200.0, 0, 0], dtype=torch.float64)
    place = state.rotation, state.translation(layout), camera
    marks = pick(head.landmarks["mediapipe"], basis.index)
    order = [marks.index.tolist().index(number) for number in basis.index]
    expected = project(points(vertices, marks), *place)[:, order, :2]
    projector = Projector(basis, layout)
    found = projector.landmarks(state).pixels
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    line = contour_points(vertices, head.landmarks["contour"], state.rotation)
    found = projector.contour(state).pixels
    torch.testing.assert_close(found, project(line, *place)[..., :2], rtol=0, atol=1e-5)


def columns(view, size):
    """Derivatives of both image coordinates of every point: (N, L, 2, size)."""
    frames, count = view.pixels.shape[:2]
    axes = torch.eye(2, dtype=torch.float64)
    if isinstance(view, LandmarkView):
        out = torch.empty(frames, count, 2, size)
        view.columns(out, axes.expand(frames, count, 2, 2))
        return out
    sides = [torch.empty(frames, count, size) for _ in axes]
    for side, axis in zip(sides, axes, strict=True):
        view.columns(side, axis.expand(frames, count, 2))
    return torch.stack(sides, 2)


@pytest.mark.parametrize("kind", ["landmarks", "contour"])
def test_jacobian_is_the_finite_difference(setup, kind):
    basis, layout, state = setup
    evaluate = getattr(Projector(basis, layout), kind)
    size = layout.frame_size + layout.shared_size
    exact = columns(evaluate(state), size).double()
    step = 1e-6
    for column in range(size):
        frame, shared = torch.zeros_like(state.frame), torch.zeros_like(state.shared)
        if column < layout.frame_size:
            frame[:, column] = step
        else:
            shared[column - layout.frame_size] = step
        ahead = evaluate(state.moved(layout, frame, shared)).pixels
        behind = evaluate(state.moved(layout, -frame, -shared)).pixels
        slope = (ahead - behind) / (2 * step)
        atol = 2e-5 + 2e-6 * slope.abs().max().item()
        torch.testing.assert_close(exact[..., column], slope, rtol=1e-5, atol=atol)
    # With fewer shared unknowns, the columns that are left are the same.
    for free in (0, layout.n_identity):
        fewer = layout.frame_size + free
        torch.testing.assert_close(columns(evaluate(state), fewer).double(), exact[..., :fewer])


def test_gradient_is_that_of_the_cost(head, tmp_path):
    ground_truth = make_ground_truth(head, 6, seed=5)
    landmarks, crop = detect(head, ground_truth, noise=2.0)
    write_inputs(tmp_path, landmarks, crop)
    names = ("landmarks.npz", "crop.json", "frames.tsv")
    observed = read_observations(*(tmp_path / name for name in names))
    basis = LandmarkBasis(head)
    layout = Layout(len(basis.bounds), basis.identity_space.matrix.shape[1])
    terms = Terms(basis, layout, observed)
    shared = torch.zeros(layout.shared_size, dtype=torch.float64)
    shared[layout.focal] = np.log(1400.0)
    state = initial_state(terms, layout, shared, observed.linked)
    generator = torch.Generator().manual_seed(1)
    state.frame[:, layout.lids] = 0.3
    frames, outlier = torch.arange(6), 5.0
    rows = terms.linearize(state, frames, outlier, layout.shared_size)
    gradient = torch.einsum("nm,nmp->np", rows.values, rows.jacobian).double()
    for _ in range(4):
        frame = torch.randn(state.frame.shape, generator=generator, dtype=torch.float64)
        common = torch.randn(layout.shared_size, generator=generator, dtype=torch.float64)
        step = 1e-6
        ahead, behind = (
            terms.cost(
                state.moved(layout, sign * step * frame, sign * step * common),
                frames, rows.frozen, outlier,
            )
            for sign in (1, -1)
        )  # fmt: skip
        expected = (gradient * torch.cat([frame, common.expand(6, -1)], 1)).sum(1)
        torch.testing.assert_close((ahead - behind) / (2 * step), expected, rtol=1e-4, atol=1e-2)


def random_band(frames, size, seed=0):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(frames, size, size, generator=generator, dtype=torch.float64)
    first = torch.randn(frames - 1, size, generator=generator, dtype=torch.float64)
    second = torch.randn(frames - 2, size, generator=generator, dtype=torch.float64)
    diagonal = root @ root.mT + 12 * torch.eye(size, dtype=torch.float64)
    dense = torch.block_diag(*diagonal)
    for k in range(frames - 1):
        a, b = slice(k * size, (k + 1) * size), slice((k + 1) * size, (k + 2) * size)
        dense[b, a] = dense[a, b] = torch.diag(first[k])
    for k in range(frames - 2):
        a, b = slice(k * size, (k + 1) * size), slice((k + 2) * size, (k + 3) * size)
        dense[b, a] = dense[a, b] = torch.diag(second[k])
    return diagonal, first, second, dense


@pytest.mark.parametrize("frames", [2, 4, 6, 8, 14, 22])
def test_banded_solve_is_the_dense_solve(frames):
    size = 3
    diagonal, first, second, dense = random_band(frames, size)
    factor = factorize(*pair_blocks(diagonal[None], first[None], second[None]))
    right = torch.randn(frames * size, 2, dtype=torch.float64)
    half = factor.half_solve(right.reshape(1, frames // 2, 2 * size, 2))
    solved = factor.back_solve(half).reshape(frames * size, 2)
    torch.testing.assert_close(solved, torch.linalg.solve(dense, right))
    # Schur complements: (L^-1 B)' (L^-1 B) = B' A^-1 B.
    flat = half.reshape(-1, 2)
    torch.testing.assert_close(flat.T @ flat, right.T @ solved)


def test_smoothness_gradient_and_bands(setup):
    _, layout, _ = setup
    size = layout.frame_size
    ones = torch.ones(size, dtype=torch.float64)
    weights = Priors(
        torch.diag(ones), ones, 2 * ones, 3 * ones, -ones, ones, torch.diag(ones), ones
    )
    linked = torch.tensor([True, True, True, False, True, True])
    smooth = Smoothness(layout, weights, linked)
    frame = torch.randn(7, size, dtype=torch.float64)
    frame[:, layout.turn] = 0
    turns = matrix_from_axis_angle(torch.randn(7, 3, dtype=torch.float64) * 1e-4)
    state = State(frame, turns, torch.zeros(layout.shared_size, dtype=torch.float64))
    gradient = smooth.gradient(state)
    center, near, far = smooth.bands()
    flat = frame.clone()
    flat[:, layout.turn] = axis_angle_from_matrix(turns)
    product = center * flat
    product[1:] += near * flat[:-1]
    product[:-1] += near * flat[1:]
    product[2:] += far * flat[:-2]
    product[:-2] += far * flat[2:]
    torch.testing.assert_close(gradient, product, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(smooth.cost(state), 0.5 * (product * flat).sum(), rtol=1e-6, atol=0)
    # No coupling across the cut.
    assert near[3].abs().max() == 0
    assert far[2:4].abs().max() == 0


def test_a_noisy_outline_does_not_stop_the_jaw_line_sliding():
    angle = torch.linspace(0.2, np.pi - 0.2, 17, dtype=torch.float64)
    line = 70 * torch.stack([angle.cos(), 1.3 * angle.sin()], -1)
    top = 70 * torch.tensor([[-0.8, -0.4], [0.0, -1.2], [0.8, -0.4]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    outline = torch.cat([line, top]).repeat(500, 1, 1)
    outline += torch.randn(outline.shape, generator=generator, dtype=torch.float64)
    base, normal = _nearest_lines(line.repeat(500, 1, 1), outline)
    along = torch.nn.functional.normalize(line[2:] - line[:-2], dim=-1)
    assert ((normal[:, 1:-1] * along).sum(-1)).abs().max() < 1e-9
    # The distance across is the noise there, less what the nearest point cuts off.
    across = ((line - base) * normal).sum(-1)
    assert across.mean(0).abs().max() < 0.25
    assert 0.5 < across.std() < 1.1


def test_the_sides_of_the_jaw_line_count_less_on_turned_faces():
    turns = torch.deg2rad(torch.tensor([[0.0, yaw, 0] for yaw in (0, 25, -25, 50)])).double()
    front, left, right, far = contour_share(FLIP @ matrix_from_axis_angle(turns), CONTOUR_NOISE)
    assert front.tolist() == [1.0] * 17
    torch.testing.assert_close(left, right)
    assert left[5:12].tolist() == [1.0] * 7
    assert left[[0, 4, 12, 16]].max() < 0.5
    assert far[0] < left[0]


def test_a_damped_step_is_not_convergence(monkeypatch):
    """A small decrease ends a solve only without damping."""
    dampings = iter([1e-2, 1e-1, 1e-2, 1e-3])
    normal = type("Normal", (), {"cost": 100.0})

    def search(self, progress, *rest):
        return SolveProgress(progress.state, next(dampings), 0, 100.0 - 1e-6)

    monkeypatch.setattr(ClipSolver, "linearize", lambda self, *rest: normal)
    monkeypatch.setattr(ClipSolver, "held", lambda self, *rest: None)
    monkeypatch.setattr(ClipSolver, "_search", search)
    solver = ClipSolver.__new__(ClipSolver)
    assert solver.iterate(SolveProgress(None), 9, 4.0, 0, 1e-3).iteration == 3
