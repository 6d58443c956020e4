"""Blinks for motions that have none."""

import torch
from torch import Tensor

# Seconds: to close, to stay closed, to open; lids close faster than they open.
CLOSE, HOLD, OPEN = 0.08, 0.04, 0.16
# Seconds from one blink to the next, over and over: 15 to 20 a minute, as people who talk.
PAUSES = (2.6, 4.1, 3.2, 4.7, 2.2, 3.7)
FIRST = 1.3


def blinks(times: Tensor) -> Tensor:
    """Closure of both lids over time; equal inputs give equal videos.

    Args:
        times: (N,) seconds.

    Returns:
        (N, 2) left and right lid, 0 open .. 1 closed.
    """
    starts, start = [], FIRST
    while start <= times[-1]:
        starts.append(start)
        start += PAUSES[(len(starts) - 1) % len(PAUSES)]
    if not starts:
        return times.new_zeros(len(times), 2)
    since = times[:, None] - times.new_tensor(starts)
    closed = torch.minimum(since / CLOSE, (CLOSE + HOLD + OPEN - since) / OPEN).clamp(0, 1).amax(1)
    # Smooth where it starts and stops.
    return (closed.square() * (3 - 2 * closed))[:, None].expand(-1, 2)
