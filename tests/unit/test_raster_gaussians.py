"""Gaussian rasterizer against the float64 reference."""

import pytest
import torch

from headsplat.gaussians.raster.gaussians import rasterize_gaussians
from tests.oracles.gaussian_check import INPUTS, ORDER, compare, gradients_of
from tests.oracles.gaussian_scenes import scene, scenes

SCENES = scenes()


def render(inputs):
    return rasterize_gaussians(*(inputs[name] for name in ORDER))


@pytest.mark.parametrize("name", SCENES)
def test_images_and_gradients_match_the_float64_reference(name):
    errors = compare(SCENES[name])
    assert errors.pop("left out") < 0.1
    limit = 2e-4 if name == "needles" else 2e-5
    assert max(errors.values()) < limit, errors


def _weights(inputs):
    size = (len(inputs["means"]), inputs["height"], inputs["width"])
    random = torch.Generator().manual_seed(1)
    return torch.randn(*size, 3, generator=random), torch.randn(size, generator=random)


def test_bits_do_not_depend_on_threads_or_run():
    inputs = scene(30, batch=2, count=900, width=70, height=50)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 2):
            torch.set_num_threads(threads)
            gradients = gradients_of(rasterize_gaussians, inputs, _weights(inputs))
            gradients.pop("background")  # PyTorch's own sum
            results.append([*render(inputs), *gradients.values()])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


def test_a_batch_is_its_frames():
    inputs = scene(31, batch=3)
    color, alpha = render(inputs)
    for i in range(3):
        one = {k: v[i : i + 1] if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}
        single = render(one)
        assert torch.equal(single[0][0], color[i])
        assert torch.equal(single[1][0], alpha[i])


def test_shared_parameters_get_the_sum_of_the_frames_gradients():
    shared = SCENES["shared"]
    batch = len(shared["means"])
    copied = shared | {
        k: shared[k].repeat(batch, *[1] * shared[k].dim())
        for k in ("quats", "scales", "opacities", "colors", "background")
    }
    weights = _weights(shared)
    one = gradients_of(rasterize_gaussians, shared, weights)
    many = gradients_of(rasterize_gaussians, copied, weights)
    for name in INPUTS:
        expected = many[name] if one[name].shape == many[name].shape else many[name].sum(0)
        torch.testing.assert_close(one[name], expected, rtol=1e-5, atol=1e-5)


def test_no_gradient_through_a_clamped_alpha():
    inputs = scene(32, count=1) | {"opacities": torch.tensor([[0.9999]])}
    inputs["scales"] = torch.full((1, 1, 3), 5.0)
    found = gradients_of(rasterize_gaussians, inputs, _weights(inputs))
    color, alpha = render(inputs)
    held = torch.isclose(alpha, torch.tensor(0.99))
    assert held.float().mean() > 0.9
    assert found["colors"].abs().sum() > 0
    all_held = bool(held.all())
    assert (found["opacities"].abs().item() == 0) == all_held


def test_principal_point_moves_the_image():
    inputs = scene(33, width=64, height=48)
    moved = inputs | {"K4": inputs["K4"] + torch.tensor([0.0, 0, 16, 0])}
    # By a whole tile, so that the tiles' own rounding stays the same.
    torch.testing.assert_close(
        render(inputs)[0][:, :, :40], render(moved)[0][:, :, 16:56], rtol=1e-4, atol=1e-4
    )


def test_only_required_gradients():
    inputs = scene(34)
    colors = inputs["colors"].clone().requires_grad_()
    color, alpha = render(inputs | {"colors": colors})
    alpha_only = torch.autograd.grad(alpha.sum(), colors, retain_graph=True)[0]
    assert (alpha_only == 0).all()
    assert torch.autograd.grad(color.sum(), colors)[0].abs().sum() > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"means": torch.zeros(1, 60, 2)}, "means: expected shape"),
        ({"quats": torch.zeros(1, 59, 4)}, "quats: expected shape"),
        ({"R": torch.zeros(2, 3, 3)}, "R: expected shape"),
        ({"width": 0}, "image size"),
        ({"opacities": torch.full((1, 60), float("nan"))}, "Gaussian 0 of frame 0 .* not finite"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        render(scene(35) | change)


def test_wrong_type_is_named():
    with pytest.raises(TypeError, match="scales: expected Float"):
        render(scene(35) | {"scales": torch.ones(1, 60, 3, dtype=torch.float64)})


def test_torch_accepts_the_operator():
    inputs = scene(36, batch=2, count=20, width=20, height=18)
    arguments = [inputs[k].clone() for k in ORDER[:8]] + [inputs["background"]]
    for index in (0, 1, 2, 3, 4, 5, 6, 8):
        arguments[index].requires_grad_()
    torch.library.opcheck(
        torch.ops.headsplat.rasterize_gaussians,
        (*arguments, 20, 18, 0),
        test_utils=("test_schema", "test_faketensor", "test_autograd_registration"),
    )
