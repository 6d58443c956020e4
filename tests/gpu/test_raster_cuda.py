"""The CUDA kernels against the float64 reference and against the CPU; skipped without a GPU."""

import pytest
import torch

from headsplat.gaussians.raster.gaussians import InstanceBudget, rasterize_gaussians
from headsplat.gaussians.raster.triangles import rasterize_triangles
from headsplat.runtime.cuda_graph import recorded
from headsplat.runtime.errors import UserError
from tests.oracles.gaussian_check import INPUTS, ORDER, compare, gradients_of, relative
from tests.oracles.gaussian_scenes import scene, scenes

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
SCENES = scenes()


def _to_gpu(inputs):
    return {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}


def _render(inputs, budget=None):
    return rasterize_gaussians(*(inputs[name] for name in ORDER), budget=budget)


def _weights(inputs, device="cuda"):
    size = (len(inputs["means"]), inputs["height"], inputs["width"])
    random = torch.Generator().manual_seed(1)
    weights = torch.randn(*size, 3, generator=random), torch.randn(size, generator=random)
    return tuple(w.to(device) for w in weights)


@pytest.mark.parametrize("name", SCENES)
def test_images_and_gradients_match_the_float64_reference(name):
    errors = compare(SCENES[name], "cuda")
    assert errors.pop("left out") < 0.1
    limit = 3e-4 if name == "needles" else 3e-5
    assert max(errors.values()) < limit, errors


@pytest.mark.parametrize("count", [3000, 20000])
def test_large_scenes_match_the_cpu(count):
    # Thousands of Gaussians a tile: both sorts, and the one in global memory, get work.
    inputs = scene(40, batch=2, count=count, width=100, height=75)
    inputs["scales"] = inputs["scales"] * 3
    color, alpha = _render(inputs)
    gpu_color, gpu_alpha = _render(_to_gpu(inputs))
    # A pixel on a step may fall on the other side: rare, and never by more than the step.
    difference = (gpu_color.cpu() - color).abs().amax(-1)
    assert (difference > 1e-4).float().mean() < 2e-3
    assert difference.max() < 0.02
    found = gradients_of(rasterize_gaussians, _to_gpu(inputs), _weights(inputs))
    true = gradients_of(rasterize_gaussians, inputs, _weights(inputs, "cpu"))
    for name in INPUTS:
        assert relative(found[name], true[name]) < 2e-2, name
    assert relative(gpu_alpha, alpha) < 1e-4


def test_bits_do_not_depend_on_the_run():
    inputs = _to_gpu(scene(41, batch=4, count=4000, width=130, height=90))
    runs = [
        [*_render(inputs), *gradients_of(rasterize_gaussians, inputs, _weights(inputs)).values()]
        for _ in range(4)
    ]
    for other in runs[1:]:
        for a, b in zip(runs[0], other, strict=True):
            assert torch.equal(a, b)


def test_budget_changes_nothing_while_it_suffices_and_says_when_it_does_not():
    inputs = _to_gpu(scene(42, batch=3, count=500))
    exact = _render(inputs)
    budget = InstanceBudget(10, "cuda")
    color, _ = _render(inputs, budget)
    empty = inputs["background"][:, None, None].expand_as(color)
    assert torch.equal(color, empty)
    assert budget.grow()
    again = _render(inputs, budget)
    assert not budget.grow()
    assert torch.equal(again[0], exact[0])
    assert torch.equal(again[1], exact[1])


def test_values_that_are_not_finite():
    inputs = _to_gpu(scene(43))
    inputs["scales"][0, 5, 1] = float("inf")
    with pytest.raises(ValueError, match="1 Gaussians have parameters that are not finite"):
        _render(inputs)
    budget = InstanceBudget(10000, "cuda")
    _render(inputs, budget)
    with pytest.raises(UserError, match="not finite"):
        budget.grow()


def test_a_step_can_be_captured_in_a_graph():
    inputs = _to_gpu(scene(44, batch=4, count=2000, width=96, height=96))
    weights = _weights(inputs)
    budget = InstanceBudget(60000, "cuda")
    leaves = {k: inputs[k].clone().requires_grad_() for k in INPUTS}

    def step():
        color, alpha = _render(inputs | leaves, budget)
        loss = (color * weights[0]).sum() + (alpha * weights[1]).sum()
        return color, torch.autograd.grad(loss, list(leaves.values()))

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    with recorded() as graph:
        color, gradients = step()
    with torch.no_grad():
        leaves["means"] += 0.01
    graph.replay()
    expected_color, expected = step()
    assert torch.equal(color, expected_color)
    for a, b in zip(gradients, expected, strict=True):
        assert torch.equal(a, b)
    assert not budget.grow()


def test_triangles_give_the_cpus_bits():
    random = torch.Generator().manual_seed(2)
    points = torch.rand(3, 400, 3, generator=random) * torch.tensor([220.0, 170.0, 3.0])
    points = points + torch.tensor([-10.0, -10.0, -0.3])
    faces = torch.randint(400, (700, 3), generator=random)
    for cull in (False, True):
        face, bary = rasterize_triangles(points, faces, 200, 150, cull)
        gpu_face, gpu_bary = rasterize_triangles(points.cuda(), faces.cuda(), 200, 150, cull)
        assert torch.equal(gpu_face.cpu(), face)
        assert torch.equal(gpu_bary.cpu(), bary)


def test_wrong_device_is_named():
    inputs = _to_gpu(scene(45)) | {"colors": scene(45)["colors"]}
    with pytest.raises(ValueError, match="colors: expected device cuda"):
        _render(inputs)


def test_compiles():
    inputs = _to_gpu(scene(46, batch=2))
    budget = InstanceBudget(20000, "cuda")
    exact = _render(inputs)

    @torch.compile(backend="aot_eager", fullgraph=True)
    def image(means):
        color, _ = _render(inputs | {"means": means * 1.0}, budget)
        return color * 2.0

    means = inputs["means"].clone().requires_grad_()
    out = image(means)
    assert torch.equal(out, exact[0] * 2)
    assert torch.autograd.grad(out.sum(), means)[0].abs().sum() > 0
