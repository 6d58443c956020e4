"""The photometric loss on a GPU against the CPU; skipped without a GPU."""

import pytest
import torch

from headsplat.runtime.cuda_graph import recorded
from headsplat.train.losses import image_loss
from tests.oracles.image_loss import SCALE, SIZES, compare, loss_and_gradient, scene

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def _to_gpu(inputs):
    return {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}


def _both(inputs):
    """Loss and gradient on the GPU and on the CPU."""
    gpu = loss_and_gradient(image_loss, SCALE.cuda(), *_to_gpu(inputs).values())
    return gpu, loss_and_gradient(image_loss, SCALE, *inputs.values())


@pytest.mark.parametrize(("height", "width", "reduction"), [*SIZES, (200, 264, 1), (64, 528, 2)])
def test_the_cpus_gradient_and_its_loss_up_to_rounding(height, width, reduction):
    inputs = scene(1, height, width, reduction)
    (loss, gradient), (cpu_loss, cpu_gradient) = _both(inputs)
    assert torch.equal(gradient.cpu(), cpu_gradient)
    torch.testing.assert_close(loss.cpu(), cpu_loss, rtol=1e-6, atol=0)
    compare(inputs, "cuda")


@pytest.mark.parametrize("reduction", [1, 2])
@pytest.mark.parametrize("name", ["image", "images"])
def test_views_that_begin_on_no_words_border(name, reduction):
    inputs = scene(2, 16, 32, reduction)
    (_, gradient), _ = _both(inputs)
    gpu = _to_gpu(inputs)
    base = gpu[name].new_empty(gpu[name].numel() + 1)
    shifted = base[1:].view_as(gpu[name]).copy_(gpu[name])
    assert shifted.data_ptr() % 4 == (1 if name == "images" else 0)
    # Not through loss_and_gradient: its copy of the image would lie on a border again.
    other = torch.ops.headsplat.image_loss_backward(SCALE.cuda(), *(gpu | {name: shifted}).values())
    assert torch.equal(other, gradient)
    torch.testing.assert_close(
        image_loss(**(gpu | {name: shifted})), image_loss(**gpu), rtol=1e-6, atol=0
    )


def test_bits_do_not_depend_on_the_run_or_the_batch():
    inputs = _to_gpu(scene(3, 512, 512, batch=3))
    runs = [loss_and_gradient(image_loss, SCALE.cuda(), *inputs.values()) for _ in range(4)]
    for loss, gradient in runs[1:]:
        assert torch.equal(loss, runs[0][0])
        assert torch.equal(gradient, runs[0][1])
    one = {k: inputs[k][1:2].clone() for k in ("image", "rows", "background")}
    assert torch.equal(image_loss(**(inputs | one)), runs[0][0][1:2])


def test_rows_outside_count_as_the_nearest_inside():
    inputs = _to_gpu(scene(4, 20, 24))
    outside = inputs | {"rows": torch.tensor([-1, 4, 2**40], device="cuda")}
    inside = inputs | {"rows": torch.tensor([0, 3, 3], device="cuda")}
    found = loss_and_gradient(image_loss, SCALE.cuda(), *outside.values())
    expected = loss_and_gradient(image_loss, SCALE.cuda(), *inside.values())
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize("reduction", [1, 2])
def test_a_step_can_be_captured_in_a_graph(reduction):
    inputs = _to_gpu(scene(5, 96, 128, reduction))
    other = _to_gpu(scene(6, 96, 128, reduction))
    image = inputs["image"].requires_grad_()

    def step():
        loss = image_loss(**inputs)
        return loss, torch.autograd.grad(loss.mean(), image)[0]

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    with recorded() as graph:
        loss, gradient = step()
    with torch.no_grad():
        for name in ("image", "images", "rows", "background"):
            inputs[name].copy_(other[name])
    graph.replay()
    expected_loss, expected = step()
    assert torch.equal(loss, expected_loss)
    assert torch.equal(gradient, expected)


def test_nothing_waits_for_the_gpu():
    inputs = _to_gpu(scene(7, 64, 64))
    image = inputs["image"].requires_grad_()
    image_loss(**inputs)
    torch.cuda.set_sync_debug_mode("error")
    try:
        torch.autograd.grad(image_loss(**inputs).sum(), image)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", ["images", "rows", "background"])
def test_wrong_device_is_named(name):
    inputs = scene(8, 8, 8)
    with pytest.raises(ValueError, match=f"{name}: expected device cuda:0, got cpu"):
        image_loss(**(_to_gpu(inputs) | {name: inputs[name]}))
    with pytest.raises(ValueError, match=f"{name}: expected device cpu, got cuda:0"):
        image_loss(**(inputs | {name: inputs[name].cuda()}))


def test_compiles():
    inputs = _to_gpu(scene(9, 32, 40))
    exact = loss_and_gradient(image_loss, SCALE.cuda(), *inputs.values())

    @torch.compile(backend="aot_eager", fullgraph=True)
    def loss(image):
        return image_loss(**(inputs | {"image": image}))

    image = inputs["image"].clone().requires_grad_()
    found = loss(image)
    assert torch.equal(found, exact[0])
    assert torch.equal(torch.autograd.grad((found * SCALE.cuda()).sum(), image)[0], exact[1])
