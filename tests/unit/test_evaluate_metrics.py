"""PSNR, SSIM and L1 metrics."""

import math

import pytest
import torch

from headsplat.metrics import (
    edge_band,
    frame_metrics,
    person_metrics,
    psnr_head,
    ssim,
    temporal_error,
)


def random_images(seed: int) -> torch.Tensor:
    return torch.rand(2, 24, 20, 3, generator=torch.Generator().manual_seed(seed))


def test_head_psnr_dilutes_over_the_image_and_pixel_psnr_does_not() -> None:
    ground_truth = torch.full((1, 20, 20, 3), 0.5)
    render = ground_truth + 0.1
    mask = torch.zeros(1, 20, 20)
    mask[:, :10, :10] = 1  # a quarter of the image
    values = frame_metrics(ground_truth, render, mask)
    assert values["psnr_head_pixels"].item() == pytest.approx(20, abs=1e-3)
    assert values["psnr_head"].item() == pytest.approx(20 + 10 * math.log10(4), abs=1e-3)
    assert values["psnr_full"].item() == pytest.approx(20, abs=1e-3)
    assert values["l1_head"].item() == pytest.approx(0.1, abs=1e-6)


def test_errors_outside_the_head_count_only_in_psnr_full() -> None:
    ground_truth = torch.zeros(1, 20, 20, 3)
    render = ground_truth.clone()
    render[:, 15:] = 1
    mask = torch.zeros(1, 20, 20)
    mask[:, :10] = 1
    values = frame_metrics(ground_truth, render, mask)
    assert values["psnr_head"].item() == pytest.approx(100)
    assert values["psnr_full"].item() == pytest.approx(-10 * math.log10(0.25), abs=1e-4)


def test_psnr_head_alone_is_that_of_all_metrics() -> None:
    ground_truth, render = random_images(0), 2 * random_images(1) - 0.5
    mask = (random_images(2)[..., 0] > 0.5).float()
    expected = frame_metrics(ground_truth, render, mask)["psnr_head"]
    assert torch.equal(psnr_head(ground_truth, render, mask), expected)


def test_ssim_against_the_definition() -> None:
    a, b = random_images(0).double(), random_images(1).double()
    grid = torch.arange(11, dtype=torch.float64) - 5
    line = torch.exp(-grid.square() / 4.5)
    window = (line[:, None] * line[None]) / line.sum() ** 2
    total = []
    for y in range(24 - 10):
        for x in range(20 - 10):
            for c in range(3):
                p, q = a[0, y : y + 11, x : x + 11, c], b[0, y : y + 11, x : x + 11, c]
                mp, mq = (window * p).sum(), (window * q).sum()
                vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
                cov = (window * (p - mp) * (q - mq)).sum()
                total.append(
                    (2 * mp * mq + 1e-4)
                    * (2 * cov + 9e-4)
                    / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4))
                )
    assert ssim(a, b)[0].item() == pytest.approx(torch.stack(total).mean().item(), abs=1e-9)
    assert torch.allclose(ssim(a, a), torch.ones(2, dtype=torch.float64))


def test_temporal_error_ignores_a_constant_difference_and_sees_flicker() -> None:
    before, now = random_images(2), random_images(3)
    mask = torch.ones(2, 24, 20)
    still = temporal_error(now, before, now + 0.1, before + 0.1, mask)
    flicker = temporal_error(now, before, now + 0.1, before - 0.1, mask)
    assert still.max() < 1e-6
    assert torch.allclose(flicker, torch.full((2,), 0.2), atol=1e-6)


def test_the_edge_is_a_band_on_both_sides_of_the_mask() -> None:
    mask = torch.zeros(1, 128, 256)
    mask[:, 40:, 100:140] = 1  # touches the lower edge of the image, which is no edge of the head
    band = edge_band(mask)[0]
    reach = 3  # 6/512 of 256
    assert band.unique().tolist() == [0, 1]
    assert band[100].nonzero()[:, 0].tolist() == [*range(97, 103), *range(137, 143)]
    assert band[:, 120].nonzero()[:, 0].tolist() == list(range(40 - reach, 40 + reach))
    ground_truth = torch.zeros(1, 128, 256, 3)
    render = ground_truth.clone()
    render[0, band == 0] = 1
    assert frame_metrics(ground_truth, render, mask)["psnr_edge"].item() == pytest.approx(100)
    render = 0.1 * band[None, ..., None].expand(1, 128, 256, 3)
    assert frame_metrics(ground_truth, render, mask)["psnr_edge"].item() == pytest.approx(20)


def test_the_collar_is_the_person_near_the_head() -> None:
    head, person = torch.zeros(2, 1, 128, 256)
    head[:, :60, 100:140] = 1
    person[:, :, 80:160] = 1
    ground_truth = torch.full((1, 128, 256, 3), 0.5)
    render = ground_truth.clone()
    render[:, :60, 100:140] += 0.4  # the head
    render[:, :, :80] += 0.4  # outside of the person
    render[:, 60 + 16 :] += 0.4  # farther than 32/512 of the width
    values = person_metrics(ground_truth, render, person, head)
    assert values["psnr_collar"].item() == pytest.approx(100)
    render[:, 60:70, 110:120] += 0.1
    collar = person_metrics(ground_truth, render, person, head)["psnr_collar"].item()
    pixels = 16 * 72 + 60 * 32  # below the head, and beside it
    assert collar == pytest.approx(-10 * math.log10(0.01 * 100 / pixels), abs=0.1)
