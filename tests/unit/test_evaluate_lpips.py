"""LPIPS of the head in evaluation."""

import torch

from headsplat.evaluate.measures import _lpips_head
from headsplat.evaluate.pairs import Batch
from headsplat.train.lpips import Lpips


def test_lpips_of_the_head_ignores_what_lies_outside_it() -> None:
    torch.manual_seed(0)
    lpips = Lpips()
    for weight in lpips.linear:
        weight.fill_(0.1)
    ground_truth, mask = torch.rand(2, 32, 32, 3), torch.zeros(2, 32, 32)
    mask[:, :16] = 1
    outside, inside = ground_truth.clone(), ground_truth.clone()
    outside[:, 16:] = 0
    inside[:, :16] = 0
    masks = (mask, mask, ground_truth.byte())
    same, other = (Batch([1, 2], ground_truth, render, *masks) for render in (outside, inside))
    assert _lpips_head(lpips, same) == [0, 0]
    assert min(_lpips_head(lpips, other)) > 0
