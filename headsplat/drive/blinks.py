"""Procedural blinks for motions whose source has none."""

import torch
from torch import Tensor

# Durations of closing, closed and opening, in seconds; lids close faster than they open.
CLOSE, HOLD, OPEN = 0.08, 0.04, 0.16
# Seconds between blinks, repeated: 15 to 20 blinks a minute, as in conversation.
PAUSES = (2.6, 4.1, 3.2, 4.7, 2.2, 3.7)
FIRST = 1.3


def blinks(times: Tensor) -> Tensor:
    """Eyelid closure over time, deterministic.

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
    # Smoothstep, so that the velocity is zero at both ends.
    return (closed.square() * (3 - 2 * closed))[:, None].expand(-1, 2)
