"""Random crops equal slices, and gradients reach the cropped pixels."""

import pytest
import torch

from headsplat.train.crops import crop_images, crop_size, draw_corners, random_crops

SIZE = 5


def _corners():
    return torch.tensor([[0, 0], [3, 6], [2, 1]])


def _slices(images, corners):
    cut = [
        image[row : row + SIZE, column : column + SIZE]
        for image, (row, column) in zip(images, corners.tolist(), strict=True)
    ]
    return torch.stack(cut)


def test_crops_are_slices_and_so_is_their_gradient():
    torch.manual_seed(0)
    image = torch.rand(3, 8, 11, 3, requires_grad=True)
    crops, expected = random_crops(image, _corners(), SIZE), _slices(image, _corners())
    assert torch.equal(crops, expected)
    weight = torch.randn_like(crops)
    (found,) = torch.autograd.grad((crops * weight).sum(), image)
    (wanted,) = torch.autograd.grad((expected * weight).sum(), image)
    assert torch.equal(found, wanted)


def test_crops_of_non_contiguous_images():
    image = torch.rand(3, 3, 8, 11, dtype=torch.float64).requires_grad_()
    view = image.permute(0, 2, 3, 1)
    assert torch.equal(random_crops(view, _corners(), SIZE), _slices(view, _corners()))
    crop = lambda value: random_crops(value.permute(0, 2, 3, 1), _corners(), SIZE)  # noqa: E731
    assert torch.autograd.gradcheck(crop, image)


def test_crops_of_stored_bytes():
    torch.manual_seed(0)
    images = torch.randint(0, 256, (4, 8, 11, 5), dtype=torch.uint8)
    rows = torch.tensor([3, 0, 3])
    crops = crop_images(images, rows, _corners(), SIZE)
    assert crops.dtype == torch.uint8
    assert torch.equal(crops, _slices(images[rows], _corners()))


def test_corners_cover_every_place_and_no_other():
    draw = lambda: draw_corners(torch.Generator().manual_seed(3), 400, 5, 8, 11, SIZE)  # noqa: E731
    corners = draw()
    assert corners.shape == (400, 5, 2)
    assert torch.equal(corners, draw())
    places = corners.flatten(0, 1)
    counts = torch.bincount(places[:, 0] * 7 + places[:, 1], minlength=28)
    assert len(counts) == 28  # 4 rows, 7 columns
    assert counts.min() > 2000 / 28 / 2
    assert counts.max() < 2000 / 28 * 2
    with pytest.raises(ValueError, match="crops of 9 pixels do not fit into 11x8"):
        draw_corners(torch.Generator(), 1, 1, 8, 11, 9)


def test_crops_have_half_the_side_if_large_enough_for_lpips():
    assert crop_size(512, 512) == 256
    assert crop_size(96, 48) == 24
    assert crop_size(24, 24) == 16
    assert crop_size(12, 40) == 12


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"corners: expected shape \[2 2\]"):
        random_crops(torch.rand(2, 8, 8, 3), torch.zeros(3, 2, dtype=torch.long), 4)
