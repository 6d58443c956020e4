"""LPIPS: formula, gradient, half precision, and frozen weights."""

import copy

import pytest
import torch
from torch.nn.functional import interpolate

from benchmarks.random_lpips import random_lpips
from headsplat.train import lpips_fused
from headsplat.train.lpips import BACKBONE_FILE, LINEAR_FILE, _Distance, load_lpips
from tests.oracles import lpips_block

FEATURE_LAYERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)


@pytest.fixture(scope="module")
def models():
    return {dtype: random_lpips("cpu", dtype) for dtype in (torch.float32, torch.bfloat16)}


def random_images(noise: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(2, 32, 32, 3) smooth images in 0..1 and disturbed ones."""
    random = torch.Generator().manual_seed(0)
    coarse, detail = torch.rand(2, 3, 4, 4, generator=random), torch.randn(
        2, 3, 16, 16, generator=random)  # fmt: skip
    smooth = interpolate(coarse, size=(32, 32), mode="bilinear").permute(0, 2, 3, 1)
    disturbed = smooth + noise * interpolate(detail, size=(32, 32)).permute(0, 2, 3, 1)
    return smooth.contiguous(), disturbed.clamp(0, 1).contiguous()


def by_formula(model, image, target):
    """Zhang et al. (2018), eq. 1, with torchvision's VGG16 spelt out."""
    mean = torch.tensor([-0.030, -0.088, -0.188])
    deviation = torch.tensor([0.458, 0.448, 0.450])
    features = []
    for side in (image, target):
        value, levels = ((side * 2 - 1 - mean) / deviation).permute(0, 3, 1, 2), []
        for index, layer in enumerate(model.convolutions):
            if index in (2, 4, 7, 10):
                value = torch.nn.functional.max_pool2d(value, 2, 2)
            value = torch.nn.functional.conv2d(value, layer.weight, layer.bias, padding=1).relu()
            if index in (1, 3, 6, 9, 12):
                levels.append(torch.nn.functional.normalize(value, dim=1))
        features.append(levels)
    return sum(
        (weight * (a - b) ** 2).sum(1).mean((1, 2))
        for a, b, weight in zip(*features, model.linear, strict=True)
    )


def test_distance_and_gradient_are_those_of_the_formula(models):
    model = models[torch.float32]
    target, image = random_images(0.1)
    image.requires_grad_()
    expected, found = by_formula(model, image, target), model(image, target)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)
    scale = torch.tensor([1.0, -3.0])
    (wanted,) = torch.autograd.grad((expected * scale).sum(), image)
    (got,) = torch.autograd.grad((found * scale).sum(), image)
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-6 * wanted.abs().max().item())


def test_gradient_of_one_blocks_distance():
    torch.manual_seed(0)
    have = torch.randn(2, 5, 3, 4, dtype=torch.float64, requires_grad=True)
    want = torch.nn.functional.normalize(torch.randn_like(have).detach(), dim=1)
    weight = torch.rand(1, 5, 1, 1, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda value: _Distance.apply(value, want, weight), have)


def test_pixels_without_features_have_finite_gradients():
    for dtype in (torch.float32, torch.bfloat16):
        have = torch.rand(1, 4, 2, 2).to(dtype)
        have[..., 0] = 0
        have.requires_grad_()
        want = torch.full((1, 4, 2, 2), 0.5).to(dtype)
        distance = _Distance.apply(have, want, torch.ones(1, 4, 1, 1))
        assert distance.dtype == torch.float32
        assert torch.isfinite(torch.autograd.grad(distance.sum(), have)[0]).all()


def test_the_oracle_of_a_block_is_the_formula():
    have, want, weight, *_ = lpips_block.scene(64, 7, 5)
    have, want = have.double(), want.double()
    unit = [torch.nn.functional.normalize(value, dim=1) for value in (have, want)]
    expected = torch.einsum("bchw,c->b", (unit[0] - unit[1]) ** 2, weight.double()) / 35
    torch.testing.assert_close(lpips_block.distance(have, want, weight.double()), expected)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (31, 22)])
def test_the_fused_gpu_path_step_by_step(models, monkeypatch, height, width):
    """The order of layers, maxima and masks, with each of the GPU's operators spelt out."""
    model = copy.deepcopy(models[torch.float32]).double()
    convolution = lambda value, *layer: torch.conv2d(value, *layer, padding=1).relu()  # noqa: E731
    monkeypatch.setattr(lpips_fused, "convolution", convolution)
    monkeypatch.setattr(lpips_fused, "lpips_block", lpips_block.block)
    monkeypatch.setattr(lpips_fused, "lpips_block_backward", lpips_block.block_backward)
    target, image = (value[:, :height, :width].double() for value in random_images(0.1))
    image.requires_grad_()
    scale = torch.tensor([1.0, -3.0], dtype=torch.float64)
    expected = by_formula(model, image, target)
    found = lpips_fused.FusedDistance.apply(image, target, model.layers())
    torch.testing.assert_close(found, expected)
    (wanted,) = torch.autograd.grad((expected * scale).sum(), image)
    (got,) = torch.autograd.grad((found * scale).sum(), image)
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-6 * wanted.abs().max().item())


def test_half_precision_is_close(models):
    target, image = random_images(0.1)
    results = []
    for model in models.values():
        leaf = image.clone().requires_grad_()
        distance = model(leaf, target)
        assert distance.dtype == torch.float32
        results.append((distance.detach(), torch.autograd.grad(distance.sum(), leaf)[0]))
        assert not any(parameter.requires_grad for parameter in model.parameters())
        assert model(target, target).tolist() == [0, 0]
    (true, true_gradient), (half, half_gradient) = results
    torch.testing.assert_close(half, true, rtol=1e-2, atol=0)
    assert (half_gradient - true_gradient).norm() < 0.15 * true_gradient.norm()


def test_half_precision_keeps_channels_last_all_the_way(models):
    model, seen = models[torch.bfloat16], []
    note = lambda _, inputs, output: seen.extend([inputs[0], output])  # noqa: E731
    hooks = [layer.register_forward_hook(note) for layer in model.convolutions]
    model(*random_images(0.1))
    for hook in hooks:
        hook.remove()
    assert len(seen) == 4 * len(model.convolutions)
    assert all(v.is_contiguous(memory_format=torch.channels_last) for v in seen)
    assert all(v.shape[1] % 8 == 0 and v.dtype == torch.bfloat16 for v in seen)


def test_weights_are_read_in_the_precision_asked_for(models, tmp_path):
    model = models[torch.float32]
    backbone = {}
    for number, layer in zip(FEATURE_LAYERS, model.convolutions, strict=True):
        backbone[f"features.{number}.weight"] = layer.weight.clone()
        backbone[f"features.{number}.bias"] = layer.bias.clone()
    linear = {f"lin{i}.model.1.weight": weight.clone() for i, weight in enumerate(model.linear)}
    torch.save(backbone, tmp_path / BACKBONE_FILE)
    torch.save(linear, tmp_path / LINEAR_FILE)
    target, image = random_images(0.2)
    for dtype, same in models.items():
        loaded = load_lpips(tmp_path, "cpu", dtype)
        assert {layer.weight.dtype for layer in loaded.convolutions} == {dtype}
        assert all(weight.dtype == torch.float32 for weight in loaded.linear)
        assert torch.equal(loaded(image, target), same(image, target))
