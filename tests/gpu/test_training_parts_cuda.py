"""Parts of a training step on a GPU: against the CPU, and captured as a CUDA graph."""

import pytest
import torch
from torch.nn.functional import normalize

from benchmarks.random_lpips import random_lpips
from headsplat.gaussians.deform.base import FrameInputs
from headsplat.gaussians.deform.flashavatar import (
    DeformationMlp,
    FlashAvatarDeformation,
    encode_position,
)
from headsplat.train import lpips_fused
from headsplat.train.crops import crop_images, random_crops
from tests.oracles import lpips_block

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
CODE = 120


def relative(found, true):
    found, true = (value.detach().cpu().double() for value in (found, true))
    return ((found - true).norm() / true.norm()).item()


def recorded(step):
    """Run `step` a few times, then record it; returns the graph and the recorded outputs."""
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
    """Fill memory with NaNs and free it, so that the next allocations contain NaNs."""
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
    # The large case is compared on its first frames, because the CPU is slow.
    few = min(batch, 2)
    weight = weight * (torch.arange(batch) < few)[:, None, None]
    encoded = encode_position(points)
    true = torch.tanh(mlp(encoded, code[:few]))
    wanted = torch.autograd.grad((true * weight[:few]).sum(), list(mlp.parameters()))
    mlp.cuda()
    poison()
    found = torch.tanh(mlp(encoded.cuda(), code.cuda())[..., :10])
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
        + (gaussians.colors * gaussians.means).sum()
    )


@pytest.mark.parametrize("degree", [0, 3])
def test_flashavatar_can_be_captured_in_a_graph(degree):
    count, batch = 3000, 8
    model = flashavatar(count).cuda()
    model.active_degree = degree
    inputs = frames(batch, count, "cuda")
    trained = [p for name, p in model.named_parameters() if degree or name != "features_rest"]

    def step():
        gaussians = model(inputs)
        return gaussians.colors, torch.autograd.grad(_objective(gaussians), trained)

    graph, (colors, gradients) = recorded(step)
    with torch.no_grad():
        inputs.condition.mul_(0.7)
        model.mlp.fcs[2].weight.mul_(1.1)
        model.features_dc.add_(0.2)
    poison()
    # A batch of another size in between must not affect the recording.
    with torch.no_grad():
        model(frames(1, count, "cuda"))
    graph.replay()
    expected_colors, expected = step()
    # Close, not equal: cuBLAS may choose other kernels during capture. Changes missed by the
    # recording would be far larger.
    assert relative(colors, expected_colors) < 1e-3
    for found, true in zip(gradients, expected, strict=True):
        assert relative(found, true) < 1e-2


def test_flashavatar_renders_like_the_cpu():
    count, batch = 2000, 2
    model = flashavatar(count)
    with torch.no_grad():
        true = model(frames(batch, count, "cpu"))
        found = model.cuda()(frames(batch, count, "cuda"))
    for name in ("means", "quats", "scales", "opacities", "colors"):
        assert relative(getattr(found, name), getattr(true, name)) < 1e-2, name


def test_crops_equal_the_cpu():
    torch.manual_seed(0)
    image = torch.rand(3, 40, 50, 3)
    corners = torch.tensor([[0, 0], [24, 34], [7, 20]])
    images = torch.randint(0, 256, (5, 40, 50, 5), dtype=torch.uint8)
    rows = torch.tensor([4, 0, 4])
    weight = torch.randn(3, 16, 16, 3)
    results = []
    for device in ("cpu", "cuda"):
        leaf, places = image.to(device).requires_grad_(), corners.to(device)
        crops = random_crops(leaf, places, 16)
        (gradient,) = torch.autograd.grad((crops * weight.to(device)).sum(), leaf)
        stored = crop_images(images.to(device), rows.to(device), places, 16)
        results.append([crops.detach().cpu(), gradient.cpu(), stored.cpu()])
    for true, found in zip(*results, strict=True):
        assert torch.equal(found, true)


def _smooth_images(side):
    random = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 8, 8, generator=random)
    detail = torch.randn(2, 3, side // 4, side // 4, generator=random)
    resize = torch.nn.functional.interpolate
    target = resize(coarse, size=(side, side), mode="bilinear")
    image = (target + 0.1 * resize(detail, size=(side, side))).clamp(0, 1)
    return (v.permute(0, 2, 3, 1).contiguous().cuda() for v in (image, target))


@pytest.mark.parametrize("size", lpips_block.SIZES)
def test_lpips_block_matches_the_oracle(size):
    have, want, weight, d_distance, d_max = lpips_block.scene(*size)
    wide = (have.double(), want.double(), weight.double())
    expected, *maxima = lpips_block.block(*wide)
    inputs = [value.cuda() for value in (have, want, weight)]
    poison()
    found, *found_maxima = lpips_fused.lpips_block(*inputs)
    torch.testing.assert_close(found.cpu().double(), expected, rtol=1e-5, atol=0)
    for ours, true in zip(found_maxima, maxima, strict=True):
        assert torch.equal(ours.cpu().double(), true)
        assert ours.is_contiguous(memory_format=torch.channels_last)
    assert (lpips_fused.lpips_block(inputs[0], inputs[0], inputs[2])[0] == 0).all()
    for pushed in (d_max, None):
        true = lpips_block.block_backward(
            d_distance.double(), None if pushed is None else pushed.double(), *wide
        )
        poison()
        got = lpips_fused.lpips_block_backward(
            d_distance.cuda(), None if pushed is None else pushed.cuda(), *inputs
        )
        assert got.is_contiguous(memory_format=torch.channels_last)
        assert (got.cpu()[have == 0] == 0).all()
        # Rounded once, to 8 bits.
        rounding = 1e-5 * true.abs().max().item()
        torch.testing.assert_close(got.cpu().double(), true, rtol=2**-8, atol=rounding)


def test_lpips_block_is_bitwise_independent_of_the_batch():
    inputs = [value.cuda() for value in lpips_block.scene(64, 120, 70, batch=5)]
    have, want, weight, d_distance, d_max = inputs

    def both(rows):
        few = [value[rows] for value in (d_distance, d_max, have, want)]
        d_have = lpips_fused.lpips_block_backward(*few, weight)
        return *lpips_fused.lpips_block(*few[2:], weight), d_have

    first = both(slice(0, 5))
    for _ in range(3):
        assert all(map(torch.equal, both(slice(0, 5)), first))
    assert all(map(torch.equal, both(slice(3, 4)), (value[3:4] for value in first)))


def test_lpips_block_propagates_nan():
    have, want, weight, d_distance, d_max = (v.cuda() for v in lpips_block.scene(128, 4, 6))
    have[1, 5, 2, 3] = float("nan")
    distance, max_have, _ = lpips_fused.lpips_block(have, want, weight)
    assert distance.isnan().tolist() == [False, True]
    assert max_have.isnan().nonzero().tolist() == [[1, 5, 1, 1]]
    d_have = lpips_fused.lpips_block_backward(d_distance, d_max, have, want, weight)
    assert d_have[1, 5, 2, 3].isnan()
    assert d_have[0].isfinite().all()


def test_lpips_block_validates_its_arguments():
    have, want, weight, d_distance, d_max = (v.cuda() for v in lpips_block.scene(64, 4, 6))
    inputs = (have, want, weight)
    backward = torch.ops.headsplat.lpips_block_backward
    torch.library.opcheck(torch.ops.headsplat.lpips_block, inputs)
    torch.library.opcheck(backward, (d_distance, d_max, *inputs))
    wrong = {
        "channels last": (have.contiguous(), want, weight),
        "64, 128, 256 or 512 channels": (have[:, :32], want[:, :32], weight[:32]),
        "want: expected shape": (have, want[:1], weight),
        "want: expected device": (have, want.cpu(), weight),
        "weight: expected shape": (have, want, weight[:32]),
        "expected channels last in memory from a multiple of 16": (
            torch.empty(have.numel() + 1, dtype=have.dtype, device="cuda")[1:]
            .view(2, 4, 6, 64).permute(0, 3, 1, 2),
            want, weight,
        ),
    }  # fmt: skip
    for words, arguments in wrong.items():
        with pytest.raises(ValueError, match=words):
            lpips_fused.lpips_block(*arguments)
    with pytest.raises(TypeError, match="have: expected BFloat16"):
        lpips_fused.lpips_block(have.half(), want, weight)
    with pytest.raises(ValueError, match="gradient of maxima"):
        lpips_fused.lpips_block_backward(d_distance, d_max[..., :2], *inputs)
    with pytest.raises(ValueError, match="gradient of distance"):
        lpips_fused.lpips_block_backward(d_distance[:1], d_max, *inputs)


def test_lpips_block_of_an_empty_batch():
    have, want, weight, d_distance, d_max = (v.cuda() for v in lpips_block.scene(64, 4, 6))
    distance, max_have, _ = lpips_fused.lpips_block(have[:0], want[:0], weight)
    assert (distance.shape, max_have.shape) == ((0,), (0, 64, 2, 3))
    none = lpips_fused.lpips_block_backward(d_distance[:0], d_max[:0], have[:0], want[:0], weight)
    assert none.shape == (0, 64, 4, 6)


@pytest.mark.parametrize("size", [(128, 128), (100, 75), (16, 16)])
def test_half_precision_lpips_is_close_to_single_precision(size):
    image, target = (v[:, : size[0], : size[1]].contiguous() for v in _smooth_images(128))
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
    assert half.dtype == half_gradient.dtype == torch.float32
    torch.testing.assert_close(half, true, rtol=2e-2, atol=0)
    assert relative(half_gradient, true_gradient) < 0.15


def test_lpips_of_crops_can_be_captured_in_a_graph():
    image, target = _smooth_images(128)
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
    for region, (row, column) in zip(outside, corners.tolist(), strict=True):
        region[row : row + 64, column : column + 64] = False
    assert (gradient[outside] == 0).all()
    assert (gradient[~outside] != 0).float().mean() > 0.9
