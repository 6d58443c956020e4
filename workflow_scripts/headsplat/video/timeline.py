"""The constant frame rate of the pipeline, laid over the time stamps of any source."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

FPS = 25  # pictures per second of every clip after ingest


@dataclass(frozen=True)
class Timeline:
    """Which source picture shows at each output time.

    Attributes:
        pts: time stamp of the decodable source picture used for ids 1, 2, ...
        undecodable: ids whose own source picture is damaged, so a neighbour stands in.
        duration: seconds from the first picture's start to the last one's end.
    """

    pts: list[int]
    undecodable: list[int]
    duration: Fraction


def lay_timeline(
    decoded: Sequence[int], damaged: Sequence[int], last_duration: int, time_base: Fraction
) -> Timeline:
    """Choose for each time (k - 1) / 25 s the source picture with the nearest time stamp.

    Time zero is the first decodable picture; pictures that only exist damaged count when
    they lie between decodable ones. All arithmetic is exact, a tie takes the earlier picture.

    Args:
        decoded: sorted distinct time stamps of the pictures that decode.
        damaged: time stamps of the pictures that do not.
        last_duration: how long the last picture shows, in ticks.
        time_base: seconds per tick.
    """
    start, end = decoded[0], decoded[-1]
    bad = {stamp for stamp in damaged if start < stamp < end}
    everything = sorted(bad | set(decoded))
    duration = (end + last_duration - start) * time_base
    count = max(1, round(duration * FPS))
    pts, undecodable = [], []
    for index in range(count):
        time = start + Fraction(index, FPS) / time_base
        if _nearest(everything, time) in bad:
            undecodable.append(index + 1)
        pts.append(_nearest(decoded, time))
    return Timeline(pts, undecodable, duration)


def _nearest(stamps: Sequence[int], time: Fraction) -> int:
    right = bisect_left(stamps, time)
    if right == 0:
        return stamps[0]
    if right == len(stamps):
        return stamps[-1]
    return stamps[right - 1] if time - stamps[right - 1] <= stamps[right] - time else stamps[right]
