"""The deformation operators on a GPU against the CPU and float64; skipped without a GPU."""

import pytest
import torch

from headsplat.gaussians.deform.relu_network import _relu_gradient
from headsplat.runtime.cuda_graph import recorded
from tests.oracles.deformation import OPERATORS, SIZES, compare, moved, scene, values_and_gradients

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

NAMES = list(OPERATORS)
CASES = [(name, degree) for name in NAMES for degree in ((0, 1, 2, 3) if name[0] == "h" else (3,))]


def both(name, inputs):
    """Values and gradients on the GPU, and those on the CPU."""
    operator, _, differentiable = OPERATORS[name]
    gpu = values_and_gradients(operator, moved(inputs, "cuda"), differentiable)
    return sum(gpu, []), sum(values_and_gradients(operator, inputs, differentiable), [])


@pytest.mark.parametrize(("batch", "count"), [*SIZES, (16, 2000)])
@pytest.mark.parametrize(("name", "degree"), CASES)
def test_the_cpus_values_and_gradients(name, degree, batch, count):
    inputs = scene(name, batch, count, degree)
    for ours, theirs in zip(*both(name, inputs), strict=True):
        limit = 2e-6 * theirs.abs().max().item()
        torch.testing.assert_close(ours.cpu(), theirs, rtol=3e-6, atol=limit)
    compare(name, inputs, "cuda")


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_colors_and_their_means_gradients_are_the_cpus_bits(degree):
    gpu, cpu = both("harmonic_colors", scene("harmonic_colors", 5, 700, degree))
    assert torch.equal(gpu[0].cpu(), cpu[0])
    assert torch.equal(gpu[3].cpu(), cpu[3])


def test_anchors_are_the_cpus_bits():
    gpu, cpu = both("place_anchors", scene("place_anchors", 3, 500))
    assert all(torch.equal(a.cpu(), b) for a, b in zip(gpu, cpu, strict=True))


@pytest.mark.parametrize("stored", [15, 16, 24])
def test_coefficients_that_are_not_in_use(stored):
    constant, rest, means, centers, _ = scene("harmonic_colors", 3, 45)
    rest = torch.cat([rest, rest], 1)[:, :stored].contiguous()
    for degree in range(4):
        found, _ = both("harmonic_colors", [constant, rest, means, centers, degree])
        assert (found[2][:, (degree + 1) ** 2 - 1 :] == 0).all()
        compare("harmonic_colors", [constant, rest, means, centers, degree], "cuda")


@pytest.mark.parametrize("name", NAMES)
def test_bits_do_not_depend_on_the_run(name):
    inputs = moved(scene(name, 16, 3000), "cuda")
    operator, _, differentiable = OPERATORS[name]
    runs = [sum(values_and_gradients(operator, inputs, differentiable), []) for _ in range(4)]
    for other in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(other, runs[0], strict=True))


@pytest.mark.parametrize(("batch", "count"), [(0, 5), (2, 0)])
@pytest.mark.parametrize("name", NAMES)
def test_no_frames_or_no_gaussians(name, batch, count):
    gpu, cpu = both(name, scene(name, batch, count))
    for ours, theirs in zip(gpu, cpu, strict=True):
        assert torch.equal(ours.cpu(), theirs)


@pytest.mark.parametrize("name", NAMES)
def test_a_step_can_be_captured_in_a_graph(name):
    operator, _, differentiable = OPERATORS[name]
    inputs = moved(scene(name, 6, 900), "cuda")
    other = moved(scene(name, 6, 901), "cuda")
    other = [
        value[tuple(slice(0, size) for size in old.shape)] if isinstance(old, torch.Tensor) else old
        for value, old in zip(other, inputs, strict=True)
    ]
    leaves = [value.requires_grad_() for value in inputs[:differentiable]]

    def step():
        outputs = operator(*inputs)
        outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
        if not leaves:
            return outputs
        return [*outputs, *torch.autograd.grad([v.square().sum() for v in outputs], leaves)]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    with recorded() as graph:
        found = step()
    before = [value.detach().clone() for value in found]
    with torch.no_grad():
        for value, new in zip(inputs, other, strict=True):
            if isinstance(value, torch.Tensor):
                value.copy_(new)
    graph.replay()
    for ours, true, old in zip(found, step(), before, strict=True):
        assert torch.equal(ours, true)
        assert not torch.equal(ours, old)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_waits_for_the_gpu(name):
    operator, _, differentiable = OPERATORS[name]
    inputs = moved(scene(name, 2, 100), "cuda")
    leaves = [value.requires_grad_() for value in inputs[:differentiable]]
    operator(*inputs)
    torch.cuda.set_sync_debug_mode("error")
    try:
        outputs = operator(*inputs)
        if leaves:
            first = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
            torch.autograd.grad(first, leaves, torch.ones_like(first), allow_unused=True)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_corner_outside_counts_as_the_nearest_inside():
    inputs = moved(scene("place_anchors", 2, 30), "cuda")
    operator = OPERATORS["place_anchors"][0]
    corners = inputs[1].clone()
    inputs[1][3], corners[3] = inputs[1].new_tensor([-5, 7, 2**30]), corners.new_tensor([0, 7, 39])
    for ours, true in zip(
        operator(*inputs), operator(inputs[0], corners, *inputs[2:]), strict=True
    ):
        assert torch.equal(ours, true)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_device_is_named(name):
    inputs = moved(scene(name, 2, 8), "cuda")
    for k, value in enumerate(inputs):
        if isinstance(value, torch.Tensor):
            mixed = [*inputs[:k], value.cpu(), *inputs[k + 1 :]]
            with pytest.raises(ValueError, match="expected device .*, got"):
                OPERATORS[name][0](*mixed)


@pytest.mark.parametrize("name", NAMES)
def test_compiles(name):
    operator, _, differentiable = OPERATORS[name]
    inputs = moved(scene(name, 3, 50), "cuda")
    compiled = torch.compile(operator, backend="aot_eager", fullgraph=True)
    operator(*inputs)
    exact = sum(values_and_gradients(operator, inputs, differentiable), [])
    found = sum(values_and_gradients(compiled, inputs, differentiable), [])
    assert all(torch.equal(a, b) for a, b in zip(found, exact, strict=True))


def relu_case(rows, columns):
    random = torch.Generator().manual_seed(rows + columns)
    gradient = torch.randn(rows, columns, generator=random)
    values = torch.relu(torch.randn(rows, columns, generator=random))
    return gradient.bfloat16().cuda(), values.bfloat16().cuda()


@pytest.mark.parametrize("rows", [0, 1, 7, 33, 5000, 100_003])
@pytest.mark.parametrize("columns", [8, 72, 256, 2048])
def test_gradient_through_a_relu_and_its_column_sums(rows, columns):
    gradient, values = relu_case(min(rows, 20_000_000 // columns), columns)
    given = gradient.clone()
    sums = _relu_gradient(gradient, values)
    assert torch.equal(gradient, torch.where(values > 0, given, 0))
    true = gradient.double().sum(0)
    limit = 1e-6 * gradient.double().abs().sum(0).max().item() if len(gradient) else 0
    torch.testing.assert_close(sums.double(), true, rtol=0, atol=limit)
    for _ in range(3):
        again = given.clone()
        assert torch.equal(_relu_gradient(again, values), sums)
        assert torch.equal(again, gradient)


def test_gradient_through_a_relu_can_be_captured_in_a_graph():
    gradient, values = relu_case(3000, 256)
    given, result = gradient.clone(), torch.empty_like(gradient)
    _relu_gradient(gradient, values)
    with recorded() as graph:
        result.copy_(given)
        sums = _relu_gradient(result, values)
    given.mul_(2)
    graph.replay()
    assert torch.equal(result, 2 * gradient)
    torch.testing.assert_close(sums, result.float().sum(0), rtol=1e-4, atol=1e-3)


def test_what_is_not_a_number_passes_a_relu():
    gradient, values = relu_case(40, 16)
    gradient[7, 3] = values[9, 4] = float("nan")
    values[7, 3] = 1
    before = gradient[9, 4].item()
    sums = _relu_gradient(gradient, values)
    assert sums.isnan().nonzero().flatten().tolist() == [3]
    assert gradient[9, 4].item() == before


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda g, v: (g[:, :12].contiguous(), v), ValueError, "a multiple of 8 columns"),
        (lambda g, v: (g[0], v), ValueError, r"expected shape \[R, C\]"),
        (lambda g, v: (g, v[1:]), ValueError, r"values: expected shape \[40, 16\], got"),
        (lambda g, v: (g, v.float()), TypeError, "values: expected BFloat16, got Float"),
        (lambda g, v: (g, v.cpu()), ValueError, "values: expected device cuda:0, got cpu"),
        (lambda g, v: (g, torch.cat([v, v], 1)[:, :16]), ValueError, "contiguous"),
        (lambda g, v: (g.new_empty(641)[1:].view(40, 16), v), ValueError, "multiple of 16 bytes"),
    ],
)
def test_a_wrong_gradient_or_value_is_named(change, error, message):
    with pytest.raises(error, match=message):
        _relu_gradient(*change(*relu_case(40, 16)))
