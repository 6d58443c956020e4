"""Temporal error (flicker) metric."""

import numpy as np
import pytest
import torch

from headsplat.evaluate.evaluation import _temporal
from headsplat.evaluate.pairs import Batch


def test_temporal_error_bridges_batches_and_breaks_at_gaps() -> None:
    def batch(ids: list[int], seed: int) -> Batch:
        image = torch.rand(len(ids), 4, 4, 3, generator=torch.Generator().manual_seed(seed))
        mask, shown = torch.ones(len(ids), 4, 4), image.byte()
        return Batch(ids, image, image + 0.1, mask, shown)

    first, second = batch([5, 6], 0), batch([7, 20], 1)
    head = _temporal(None, first)
    assert np.isnan(head[0])
    assert head[1] == pytest.approx(0, abs=1e-6)
    tail = _temporal(first, second)
    assert tail[0] == pytest.approx(0, abs=1e-6)
    assert np.isnan(tail[1])
