"""What a training step is made of, on a card: against the CPU, and recorded as a CUDA graph."""

import pytest
import torch
from torch.nn.functional import normalize

from benchmarks.random_lpips import random_lpips
from headsplat.deform.base import FrameInputs
from headsplat.deform.flashavatar import DeformationMlp, FlashAvatarDeformation, encode_position
from headsplat.gaussians import sh
from headsplat.train.crops import crop_pictures, random_crops

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
CODE = 120


def relative(found, true):
    found, true = (value.detach().cpu().double() for value in (found, true))
    return ((found - true).norm() / true.norm()).item()


def recorded(step):
    """Run `step` a few times, then record it; returns the graph and what the recording gave."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = step()
    return graph, out


def poison():
    """Leave NaNs in the memory that the next allocations get."""
    waste = [torch.full((n,), float("nan"), device="cuda") for n in (1 << 12, 1 << 20, 1 << 26)]
    del waste


def flashavatar(count):
    torch.manual_seed(0)
    model = FlashAvatarDeformation(count, CODE)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        model.rest_positions.copy_(0.2 * torch.rand(count, 3))
        model.rotation_base[:, 0] += 1
        model.scaling_base -= 6
    return model


def frames(batch, count, device):
    random = torch.Generator().manual_seed(1)
    values = (
        torch.randn(batch, CODE, generator=random),
        torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(batch, 1),
        0.2 * torch.rand(batch, count, 3, generator=random),
        normalize(torch.randn(batch, count, 4, generator=random), dim=-1),
        torch.tensor([0.0, 0, 1]).repeat(batch, 1),
    )
    return FrameInputs(*(value.to(device) for value in values))


@pytest.mark.parametrize(("count", "batch"), [(1000, 3), (14876, 16)])
def test_network_in_half_precision_is_close_to_the_cpu(count, batch):
    torch.manual_seed(0)
    mlp = DeformationMlp(CODE)
    points = 0.2 * torch.rand(count, 3)
    code = torch.randn(batch, CODE)
    weight = torch.sin(20 * points @ torch.randn(3, 10)).expand(batch, -1, -1)
    # The large case is compared on its first frames: the CPU would take long for all.
    few = min(batch, 2)
    weight = weight * (torch.arange(batch) < few)[:, None, None]
    encoded = encode_position(points)
    true = mlp(encoded, code[:few])
    wanted = torch.autograd.grad((true * weight[:few]).sum(), list(mlp.parameters()))
    mlp.cuda()
    poison()
    found = mlp(encoded.cuda(), code.cuda())
    got = torch.autograd.grad((found * weight.cuda()).sum(), list(mlp.parameters()))
    assert found.dtype == torch.float32
    assert relative(found[:few], true) < 1e-2
    for ours, theirs in zip(got, wanted, strict=True):
        assert ours.dtype == torch.float32
        assert relative(ours, theirs) < 5e-2


def _objective(gaussians):
    return (
        gaussians.means.square().sum()
        + gaussians.quats.square().sum()
        + gaussians.scales.sum()
        + gaussians.opacities.sum()
        + (gaussians.colours * gaussians.means).sum()
    )


@pytest.mark.parametrize("degree", [0, 3])
def test_flashavatar_can_be_recorded(degree):
    count, batch = 3000, 8
    model = flashavatar(count).cuda()
    model.active_degree = degree
    inputs = frames(batch, count, "cuda")
    trained = [p for name, p in model.named_parameters() if degree or name != "features_rest"]

    def step():
        gaussians = model(inputs)
        return gaussians.colours, torch.autograd.grad(_objective(gaussians), trained)

    graph, (colours, gradients) = recorded(step)
    with torch.no_grad():
        inputs.condition.mul_(0.7)
        model.mlp.fcs[2].weight.mul_(1.1)
        model.features_dc.add_(0.2)
    poison()
    # A batch of another size in between must not disturb the recording.
    with torch.no_grad():
        model(frames(1, count, "cuda"))
    graph.replay()
    expected_colours, expected = step()
    # Close and not equal: cuBLAS may choose otherwise while it is recorded. What the recording did
    # not see of the changes above would be far larger.
    assert relative(colours, expected_colours) < 1e-3
    for found, true in zip(gradients, expected, strict=True):
        assert relative(found, true) < 1e-2


def test_flashavatar_draws_what_the_cpu_draws():
    count, batch = 2000, 2
    model = flashavatar(count)
    with torch.no_grad():
        true = model(frames(batch, count, "cpu"))
        found = model.cuda()(frames(batch, count, "cuda"))
    for name in ("means", "quats", "scales", "opacities", "colours"):
        assert relative(getattr(found, name), getattr(true, name)) < 1e-2, name


def test_harmonics_equal_the_cpus():
    torch.manual_seed(0)
    coefficients = torch.randn(500, 16, 3)
    directions = normalize(torch.randn(4, 500, 3), dim=-1)
    weight = torch.randn(4, 500, 3)
    for degree in range(4):
        results = []
        for device in ("cpu", "cuda"):
            leaves = [v.to(device).requires_grad_() for v in (coefficients, directions)]
            colours = sh.colours(*leaves, degree)
            loss = (colours * weight.to(device)).sum()
            gradients = torch.autograd.grad(loss, leaves if degree else leaves[:1])
            results.append([colours.detach(), *gradients])
        for true, found in zip(*results, strict=True):
            torch.testing.assert_close(found.cpu(), true, atol=1e-4, rtol=1e-4)


def test_crops_equal_the_cpus():
    torch.manual_seed(0)
    image = torch.rand(3, 40, 50, 3)
    corners = torch.tensor([[0, 0], [24, 34], [7, 20]])
    pictures = torch.randint(0, 256, (5, 40, 50, 5), dtype=torch.uint8)
    rows = torch.tensor([4, 0, 4])
    weight = torch.randn(3, 16, 16, 3)
    results = []
    for device in ("cpu", "cuda"):
        leaf, places = image.to(device).requires_grad_(), corners.to(device)
        crops = random_crops(leaf, places, 16)
        (gradient,) = torch.autograd.grad((crops * weight.to(device)).sum(), leaf)
        stored = crop_pictures(pictures.to(device), rows.to(device), places, 16)
        results.append([crops.detach().cpu(), gradient.cpu(), stored.cpu()])
    for true, found in zip(*results, strict=True):
        assert torch.equal(found, true)


def _smooth_pictures(side):
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 8, 8, generator=random)
    detail = torch.randn(2, 3, side // 4, side // 4, generator=random)
    resize = torch.nn.functional.interpolate
    target = resize(coarse, size=(side, side), mode="bilinear")
    image = (target + 0.1 * resize(detail, size=(side, side))).clamp(0, 1)
    return (v.permute(0, 2, 3, 1).contiguous().cuda() for v in (image, target))


def test_lpips_in_half_precision_is_close():
    image, target = _smooth_pictures(128)
    results = []
    for dtype in (torch.float32, torch.bfloat16):
        model = random_lpips("cuda", dtype)
        leaf = image.clone().requires_grad_()
        poison()
        distance = model(leaf, target)
        (gradient,) = torch.autograd.grad(distance.sum(), leaf)
        assert model(target, target).abs().max() < 1e-6
        results.append((distance.detach(), gradient))
    (true, true_gradient), (half, half_gradient) = results
    torch.testing.assert_close(half, true, rtol=2e-2, atol=0)
    assert relative(half_gradient, true_gradient) < 0.2


def test_lpips_of_crops_can_be_recorded():
    image, target = _smooth_pictures(128)
    leaf = image.clone().requires_grad_()
    corners = torch.tensor([[0, 0], [64, 64]], device="cuda")
    model = random_lpips("cuda", torch.bfloat16)

    def step():
        distance = model(random_crops(leaf, corners, 64), random_crops(target, corners, 64))
        return distance, *torch.autograd.grad(distance.sum(), leaf)

    graph, (distance, gradient) = recorded(step)
    corners.copy_(torch.tensor([[30, 5], [12, 60]]))
    poison()
    graph.replay()
    expected_distance, expected = step()
    torch.testing.assert_close(distance, expected_distance, rtol=1e-4, atol=0)
    # cuDNN may choose an algorithm that adds in any order.
    assert relative(gradient, expected) < 1e-2
    outside = torch.ones_like(leaf, dtype=torch.bool)
    for picture, (row, column) in zip(outside, corners.tolist(), strict=True):
        picture[row : row + 64, column : column + 64] = False
    assert (gradient[outside] == 0).all()
    assert (gradient[~outside] != 0).float().mean() > 0.9
