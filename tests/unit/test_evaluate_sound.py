import numpy as np
import pytest
import torch

from headsplat.evaluate.evaluation import _temporal, slices
from headsplat.evaluate.pairs import Batch


def test_slices_keep_each_frame_with_its_sound() -> None:
    rate = 100  # four samples a frame
    samples = np.arange(40, dtype=np.float32) / 100
    cut, out_rate = slices((samples, rate), [2, 3, 9])
    assert out_rate == rate
    assert (cut[:, 0] * 100).round().astype(int).tolist() == [*range(4, 12), *range(32, 36)]


def test_slices_pad_a_sound_that_ends_early() -> None:
    cut, _ = slices((np.ones((6, 2), np.float32), 100), [2])
    assert cut.tolist() == [[1, 1], [1, 1], [0, 0], [0, 0]]
    assert slices(None, [1]) is None


def test_temporal_error_bridges_batches_and_breaks_at_gaps() -> None:
    def batch(ids: list[int], seed: int) -> Batch:
        picture = torch.rand(len(ids), 4, 4, 3, generator=torch.Generator().manual_seed(seed))
        return Batch(ids, picture, picture + 0.1, torch.ones(len(ids), 4, 4))

    first, second = batch([5, 6], 0), batch([7, 20], 1)
    head = _temporal(None, first)
    assert np.isnan(head[0])
    assert head[1] == pytest.approx(0, abs=1e-6)
    tail = _temporal(first, second)
    assert tail[0] == pytest.approx(0, abs=1e-6)
    assert np.isnan(tail[1])
