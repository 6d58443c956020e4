"""Photometric loss against float64: values, gradients and argument checks."""

import pytest
import torch

from headsplat.train.losses import image_loss
from tests.oracles.image_loss import SCALE, SIZES, compare, loss_and_gradient, scene


@pytest.mark.parametrize(("height", "width", "reduction"), SIZES)
def test_loss_and_gradient_match_the_float64_oracle(height, width, reduction):
    inputs = scene(1, height, width, reduction)
    _, gradient = compare(inputs)
    assert gradient.abs().sum() > 0


def test_one_pixel_by_hand():
    images = torch.tensor([255, 255, 255, 255, 255], dtype=torch.uint8).reshape(1, 1, 1, 5)
    arguments = (images, torch.tensor([0]), torch.zeros(1, 3))
    image = torch.tensor([0.5, 0.95, 1.0]).reshape(1, 1, 1, 3)
    loss, gradient = loss_and_gradient(image_loss, torch.ones(1), image, *arguments, 0.0)
    assert loss.item() == pytest.approx((0.1 * 0.45 + 0.05**2 / 2) / 3, rel=1e-5)
    torch.testing.assert_close(gradient.flatten() * 3, torch.tensor([-0.1, -0.05, 0.0]))
    assert image_loss(image, *arguments, 40.0).item() == pytest.approx(41 * loss.item(), rel=1e-6)


def test_the_matte_chooses_between_image_and_background():
    inputs = scene(2, 9, 14)
    images, rows, background = (inputs[k] for k in ("images", "rows", "background"))
    images[..., 3] = 0
    plain = background[:, None, None].expand(3, 9, 14, 3).contiguous()
    assert image_loss(plain, images, rows, background, 40.0).max() < 1e-14
    compare(inputs)
    images[..., 3] = 255
    image = images[rows][..., :3] / 255
    assert image_loss(image, images, rows, background, 40.0).max() < 1e-14
    compare(inputs)


@pytest.mark.parametrize("mouth", [0.0, 1.0, 1000.0])
def test_weight_of_the_mouth(mouth):
    compare(scene(3, 12, 11) | {"mouth": mouth})
    compare(scene(3, 12, 11, 2) | {"mouth": mouth})


def test_an_image_may_be_rendered_twice():
    inputs = scene(4, 10, 13) | {"rows": torch.tensor([2, 0, 2])}
    inputs["rendered"][2], inputs["background"][2] = inputs["rendered"][0], inputs["background"][0]
    loss, gradient = compare(inputs)
    assert loss[0] == loss[2]
    torch.testing.assert_close(gradient[2], gradient[0] * 2, rtol=1e-6, atol=0)


def test_bits_do_not_depend_on_threads_batch_or_run():
    inputs = scene(5, 160, 130)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 2):
            torch.set_num_threads(threads)
            results.append(loss_and_gradient(image_loss, SCALE, *inputs.values()))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert torch.equal(other[0], results[0][0])
        assert torch.equal(other[1], results[0][1])
    one = {k: inputs[k][1:2] for k in ("rendered", "rows", "background")}
    assert torch.equal(image_loss(**(inputs | one)), results[0][0][1:2])


def test_nan_stays_in_its_frame():
    inputs = scene(6, 9, 17)
    inputs["rendered"][1, 8, 16, 2] = float("nan")
    inputs["rendered"][2, 0, 0, 0] = float("inf")
    loss, gradient = loss_and_gradient(image_loss, SCALE, *inputs.values())
    assert loss.isfinite().tolist() == [True, False, False]
    assert gradient[1].isnan().sum() == 1
    assert gradient[1, 8, 16, 2].isnan()


def test_no_frames():
    inputs = scene(7, 8, 8, batch=0)
    loss = image_loss(**inputs)
    assert loss.shape == (0,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"rendered": torch.zeros(3, 6, 5, 3)},
            r"rendered: expected shape \[3, 6, 4, 3\], got \[3, 6, 5",
        ),
        ({"rendered": torch.zeros(3, 12, 9, 3), "reduction": 2}, "rendered: expected shape"),
        ({"rendered": torch.zeros(3, 3, 4, 6)[..., ::2]}, "rendered: expected shape"),
        ({"rendered": torch.zeros(3, 6, 4, 6)[..., ::2]}, "rendered: expected a contiguous tensor"),
        ({"images": torch.zeros(6, 4, 5, dtype=torch.uint8)}, r"expected shape \[T, H, W, 5\]"),
        ({"images": torch.zeros(4, 12, 9, 4, dtype=torch.uint8)}, r"shape \[4, 12, 9, 5\], got"),
        ({"images": torch.zeros(0, 12, 9, 5, dtype=torch.uint8)}, "at least one frame, got none"),
        ({"images": torch.zeros(4, 9, 12, 5, dtype=torch.uint8).transpose(1, 2)}, "contiguous"),
        ({"images": torch.zeros(4, 1, 9, 5, dtype=torch.uint8)}, "image size: .* got 4 x 0"),
        (
            {"rows": torch.zeros(3, 1, dtype=torch.long)},
            r"rows: expected shape \[B\], got \[3, 1\]",
        ),
        ({"rows": torch.zeros(6, dtype=torch.long)[::2]}, "rows: expected a contiguous tensor"),
        ({"background": torch.zeros(2, 3)}, r"background: expected shape \[3, 3\], got \[2, 3\]"),
        ({"background": torch.zeros(3).expand(3, 3)}, "background: expected a contiguous tensor"),
        ({"reduction": 3}, "reduction: expected 1 or 2, got 3"),
    ],
)
def test_bad_input_is_named(change, message):
    with pytest.raises(ValueError, match=message):
        image_loss(**(scene(8, 12, 9, 2) | change))


@pytest.mark.parametrize(
    ("name", "expected"),
    [("rendered", "Float"), ("images", "Byte"), ("rows", "Long"), ("background", "Float")],
)
def test_wrong_type_is_named(name, expected):
    inputs = scene(9, 8, 8)
    with pytest.raises(TypeError, match=f"{name}: expected {expected}, got Short"):
        image_loss(**(inputs | {name: inputs[name].short()}))


@pytest.mark.parametrize("row", [-1, 4])
def test_a_row_outside_of_the_images_is_named(row):
    inputs = scene(10, 8, 8) | {"rows": torch.tensor([0, row, 1])}
    message = f"rows: entry 1 names image {row} of 4"
    with pytest.raises(IndexError, match=message):
        image_loss(**inputs)
    with pytest.raises(IndexError, match=message):
        torch.ops.headsplat.image_loss_backward(torch.ones(3), *inputs.values())


def test_a_gradient_of_the_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"gradient of loss: expected shape \[3\], got \[2\]"):
        torch.ops.headsplat.image_loss_backward(torch.ones(2), *scene(11, 8, 8).values())


@pytest.mark.parametrize("reduction", [1, 2])
def test_torch_accepts_the_operator(reduction):
    inputs = scene(12, 9, 12, reduction)
    image_loss(**inputs)
    inputs["rendered"].requires_grad_()
    torch.library.opcheck(torch.ops.headsplat.image_loss, tuple(inputs.values()))
