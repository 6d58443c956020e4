"""Measures of consecutive frames: temporal error, static flicker, error along the flow."""

import cv2
import numpy as np
import pytest
import torch

from headsplat.evaluate.flow import warped_error
from headsplat.evaluate.measures import PAIRS, means, measures
from headsplat.evaluate.pairs import Batch
from headsplat.metrics import static_flicker


def batch(ids: list[int], seed: int) -> Batch:
    image = torch.rand(len(ids), 16, 16, 3, generator=torch.Generator().manual_seed(seed)) * 0.8
    mask = torch.ones(len(ids), 16, 16)
    return Batch(ids, image, image + 0.1, mask, mask, image.byte())


def found(previous: Batch | None, some: Batch) -> dict[str, list[float]]:
    boxes = torch.tensor([[[4.0, 4, 8, 8], [0, 0, -1, -1]]]).expand(len(some.ids), 2, 4)
    return measures(previous, some, boxes, None)


def texture() -> torch.Tensor:
    """(1, 96, 96, 3) smooth random image in 0..1."""
    noise = np.random.default_rng(0).random((96, 96, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 3)
    return torch.from_numpy((smooth - smooth.min()) / np.ptp(smooth))[None]


def test_pairs_bridge_batches_and_break_at_gaps():
    first, second = batch([5, 6], 0), batch([7, 20], 1)
    head, tail = found(None, first), found(first, second)
    for values, bridged in ((head, 1), (tail, 0)):
        assert values["temporal_error"][bridged] == pytest.approx(0, abs=1e-6)
        for name in PAIRS:
            assert np.isnan(values[name][1 - bridged])
    alone = found(None, batch([9], 2))
    assert alone["psnr_eyes"] == pytest.approx([20])
    assert all(len(alone[name]) == 1 for name in PAIRS)


def test_flicker_counts_only_where_the_truth_stands_still():
    truth, mask = torch.full((1, 8, 8, 3), 0.5), torch.ones(1, 8, 8)
    before, after = truth.clone(), truth.clone()
    after[:, :4] += 0.1  # the upper half moves
    render, flickers = before.clone(), after.clone()
    flickers[:, :4] += 0.3
    flickers[:, 4:] += 0.01
    error = static_flicker(after, before, flickers, render, mask)
    assert error.item() == pytest.approx(0.01, abs=1e-5)
    assert static_flicker(before + 0.1, before, render, render, mask).isnan().all()


def test_error_along_the_flow_ignores_motion_and_sees_flicker():
    before = texture()
    after = torch.roll(before, 2, 2)  # two pixels to the right
    mask = torch.zeros(1, 96, 96)
    mask[:, 12:-12, 12:-12] = 1
    moving = warped_error(after, before, after, before, mask).item()
    flickering = warped_error(after, before, after * 0.9, before, mask).item()
    assert moving < 0.01
    assert flickering == pytest.approx((after * 0.1)[:, 12:-12, 12:-12].mean().item(), abs=0.01)
    unknown = warped_error(after, 1 - before, after, before, mask * 0)
    assert unknown.isnan().all()


def test_means_leave_out_what_no_frame_has():
    nan = np.nan
    arrays = {
        "psnr_head": np.array([30.0, 32.0, 34.0]),
        "psnr_eyes": np.array([20.0, nan, 26.0]),
        "temporal_error": np.array([nan, nan, nan]),
    }
    averages = means(arrays, np.array([True, False, False]))
    assert averages == {
        "psnr_head": 32.0, "psnr_eyes": 23.0, "psnr_eyes_closed": 20.0, "psnr_eyes_open": 26.0,
    }  # fmt: skip
    assert "psnr_eyes_closed" not in means(arrays, np.zeros(3, bool))
