"""Deformation operators on the CPU against float64, and their argument checks."""

import pytest
import torch
from torch.nn.functional import normalize

from headsplat.gaussians import sh
from headsplat.gaussians.deform.blendshapes import LAYOUT
from tests.oracles.deformation import (
    OPERATORS,
    SIZES,
    basis,
    compare,
    place_anchors,
    quaternion_product,
    rotate,
    scene,
    values_and_gradients,
)

NAMES = list(OPERATORS)


@pytest.mark.parametrize(("batch", "count"), SIZES)
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients_match_the_float64_oracle(name, batch, count):
    _, gradients = compare(name, scene(name, batch, count))
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
@pytest.mark.parametrize("stored", [0, 3, 8, 15, 24])
def test_harmonics_of_any_degree_and_number_of_coefficients(degree, stored):
    constant, rest, means, centers, _ = scene("harmonic_colors", 3, 21)
    rest = torch.cat([rest, rest], 1)[:, :stored].contiguous()
    inputs = [constant, rest, means, centers, degree]
    used = (degree + 1) ** 2 - 1
    if stored < used:
        message = f"rest: expected {used} to 1024 coefficients a Gaussian, got {stored}"
        with pytest.raises(ValueError, match=message):
            sh.harmonic_colors(*inputs)
        return
    (colors,), (_, of_rest, of_means) = compare("harmonic_colors", inputs)
    assert (colors == 0).any()  # some are held at black
    assert (of_rest[:, used:] == 0).all()
    assert (of_rest[:, :used] != 0).any(0).all()
    assert degree or not of_means.any()


def test_harmonics_are_orthonormal_and_ordered():
    generator = torch.Generator().manual_seed(0)
    directions = normalize(torch.randn(200_000, 3, generator=generator), dim=-1)
    values = basis(directions, 3)
    gram = values.T @ values / len(values) * 4 * torch.pi
    torch.testing.assert_close(gram, torch.eye(16), atol=0.03, rtol=0)
    x = basis(torch.tensor([[1.0, 0, 0]]), 3)[0]
    assert x[3] == pytest.approx(-0.4886025)


def test_a_constant_coefficient_is_view_independent():
    color = torch.rand(5, 3)
    constant, rest = sh.constant_coefficient(color)[:, None], torch.zeros(5, 15, 3)
    means = torch.randn(2, 5, 3)
    seen = sh.harmonic_colors(constant, rest, means, torch.zeros(2, 3), 3)
    torch.testing.assert_close(seen, color.expand(2, 5, 3))
    dark = sh.harmonic_colors(constant - 10, rest, means, torch.zeros(2, 3), 0)
    assert (dark == 0).all()


def test_a_gaussian_at_the_camera_center_has_its_constant_color():
    constant, rest, means, centers, degree = scene("harmonic_colors", 2, 9)
    means[1, 4] = centers[1]
    inputs = [constant, rest, means, centers, degree]
    (colors,), gradients = values_and_gradients(sh.harmonic_colors, inputs, 3)
    expected = (constant[4, 0] * sh.C0 + 0.5).clamp_min(0)
    # Of the higher degrees only polynomials without a direction would be left.
    torch.testing.assert_close(colors[1, 4], expected)
    assert gradients[2][1, 4].tolist() == [0, 0, 0]
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", NAMES)
def test_bits_do_not_depend_on_threads(name):
    operator, _, differentiable = OPERATORS[name]
    inputs, before, results = scene(name, 5, 700), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(values_and_gradients(operator, inputs, differentiable))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for ours, first in zip(sum(other, []), sum(results[0], []), strict=True):
            assert torch.equal(ours, first)


@pytest.mark.parametrize(("batch", "count"), [(0, 5), (2, 0)])
@pytest.mark.parametrize("name", NAMES)
def test_no_frames_or_no_gaussians(name, batch, count):
    operator, _, differentiable = OPERATORS[name]
    inputs = scene(name, batch, count)
    values, gradients = values_and_gradients(operator, inputs, differentiable)
    assert not any(value.numel() for value in values)
    assert not any(gradient.any() for gradient in gradients)
    assert [g.shape for g in gradients] == [v.shape for v in inputs[:differentiable]]


@pytest.mark.parametrize("name", NAMES)
def test_nan_stays_in_its_gaussian(name):
    operator, _, differentiable = OPERATORS[name]
    for which in range(max(differentiable, 1)):
        inputs = scene(name, 3, 20)
        clean, _ = values_and_gradients(operator, inputs, differentiable)
        row = 3 * int(inputs[1][4, 1]) if name == "place_anchors" else 6
        inputs[which].view(-1)[row + 1] = float("nan")
        values, _ = values_and_gradients(operator, inputs, differentiable)
        broken = torch.stack([value.isnan().view(3, 20, -1).any(2) for value in values]).any(0)
        if name == "place_anchors":
            assert broken[0, 4]
            assert not broken[1:].any()
        else:
            assert broken.any(0).sum() == 1
        for value, before in zip(values, clean, strict=True):
            assert torch.equal(value[~broken], before[~broken])


def test_quaternions_of_all_turns():
    """A triangle is turned every way, so that each entry of the quaternion is once the largest."""
    turns = normalize(torch.randn(500, 4, generator=torch.Generator().manual_seed(0)), dim=-1)
    turns = torch.cat([turns, torch.eye(4)])
    flat = torch.tensor([[0.1, 0.2, 0], [0.5, 0.2, 0], [0.2, 0.9, 0]])
    vertices = rotate(turns[:, None].expand(-1, 3, 4), flat.expand(len(turns), 3, 3))
    inputs = [vertices.contiguous(), torch.tensor([[0, 1, 2]]).int(), torch.zeros(1, 2)]
    operator = OPERATORS["place_anchors"][0]
    positions, rotations = operator(*inputs, torch.zeros(1))
    torch.testing.assert_close(positions[:, 0], vertices[:, 0])
    same = (rotations[:, 0] * turns).sum(-1).abs()
    torch.testing.assert_close(same, torch.ones(len(turns)), atol=1e-6, rtol=0)
    assert set(rotations[:, 0].abs().argmax(-1).tolist()) == {0, 1, 2, 3}
    higher, _ = operator(*inputs, torch.tensor([0.25]))
    up = place_anchors(*(v.double() for v in inputs), torch.tensor([0.25]).double())[0]
    torch.testing.assert_close(higher, up.float(), atol=1e-6, rtol=0)


def test_oracle_rotation_equals_the_matrix_product():
    turn = normalize(torch.randn(6, 4, dtype=torch.float64), dim=-1)
    other = normalize(torch.randn(6, 4, dtype=torch.float64), dim=-1)
    vector = torch.randn(6, 3, dtype=torch.float64)
    both = rotate(quaternion_product(turn, other), vector)
    torch.testing.assert_close(both, rotate(turn, rotate(other, vector)))


@pytest.mark.parametrize("name", NAMES)
def test_each_input_is_checked(name):
    operator = OPERATORS[name][0]
    inputs = scene(name, 3, 8)
    for k, value in enumerate(inputs):
        if not isinstance(value, torch.Tensor):
            continue

        def call(other, k=k):
            return operator(*inputs[:k], other, *inputs[k + 1 :])

        with pytest.raises(ValueError, match=r"expected shape .*, got \["):
            call(value[None])
        with pytest.raises(ValueError, match="expected a contiguous tensor"):
            call(torch.stack([value, value], -1)[..., 0])
        with pytest.raises(TypeError, match="expected (Float|Int), got (Double|Long)"):
            call(value.double() if value.is_floating_point() else value.long())


def test_gradients_are_checked():
    inputs = scene("harmonic_colors", 3, 8)
    backward = torch.ops.headsplat.harmonic_colors_backward
    sh.harmonic_colors(*inputs)
    with pytest.raises(ValueError, match=r"gradient of colors: expected shape \[3, 8, 3\]"):
        backward(torch.zeros(3, 8, 4), *inputs)


@pytest.mark.parametrize(
    ("name", "place", "value", "message"),
    [
        ("harmonic_colors", 4, 4, "degree: expected 0 to 3, got 4"),
        ("harmonic_colors", 4, -1, "degree: expected 0 to 3, got -1"),
        ("harmonic_colors", 2, torch.zeros(8, 3), r"means: expected shape \[B, N, 3\], got"),
        ("blendshape_gaussians", 3, [1.0, 2.0], "units: expected 5 numbers, got 2"),
        ("flashavatar_gaussians", 0, torch.zeros(3, 8, 9), "outputs: expected 10 to 1024 numbers"),
        ("place_anchors", 0, torch.zeros(3, 0, 3), "vertices: expected at least one, got none"),
    ],
)
def test_bad_input_is_named(name, place, value, message):
    inputs = scene(name, 3, 8)
    inputs[place] = value
    with pytest.raises(ValueError, match=message):
        OPERATORS[name][0](*inputs)


@pytest.mark.parametrize("corner", [-1, 40])
def test_an_invalid_vertex_index_is_named(corner):
    inputs = scene("place_anchors", 2, 8)
    inputs[1][5, 2] = corner
    with pytest.raises(IndexError, match=f"corners: row 5 names vertex {corner} of 40"):
        OPERATORS["place_anchors"][0](*inputs)


@pytest.mark.parametrize("name", NAMES)
def test_torch_accepts_the_operator(name):
    operator, _, differentiable = OPERATORS[name]
    inputs = scene(name, 2, 11)
    operator(*inputs)
    leaves = [value.requires_grad_() for value in inputs[:differentiable]]
    arguments = (*leaves, *inputs[differentiable:])
    torch.library.opcheck(getattr(torch.ops.headsplat, name).default, arguments)


def test_the_operators_order_of_attributes_is_the_models():
    sizes = {name: size for name, size, _ in LAYOUT}
    assert sizes == {"offset": 3, "quat": 4, "log_scale": 3, "opacity": 1, "color": 3}
    assert list(sizes) == ["offset", "quat", "log_scale", "opacity", "color"]
