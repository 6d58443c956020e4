import torch

from headsplat.evaluate.evaluation import _lpips_head
from headsplat.evaluate.pairs import Batch
from headsplat.train.lpips import Lpips


def test_lpips_of_the_head_ignores_what_lies_outside_it() -> None:
    torch.manual_seed(0)
    lpips = Lpips()
    for weight in lpips.linear:
        weight.fill_(0.1)
    truth, mask = torch.rand(2, 32, 32, 3), torch.zeros(2, 32, 32)
    mask[:, :16] = 1
    outside, inside = truth.clone(), truth.clone()
    outside[:, 16:] = 0
    inside[:, :16] = 0
    picture = truth.byte()
    assert _lpips_head(lpips, Batch([1, 2], truth, outside, mask, picture)) == [0, 0]
    assert min(_lpips_head(lpips, Batch([1, 2], truth, inside, mask, picture))) > 0
