"""Resampling of variable frame rates to 25 fps: maps source time stamps to frames of the clip.

A stamp is (recording, tick): a file may contain several consecutive recordings, each with its own
clock. Long pauses without images are cut out, and the remaining pieces are joined on the clip's
time axis, which images and sound share.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, pairwise
from statistics import median_low

FPS = 25  # frame rate of every clip
PAUSE = 2  # seconds; a longer time without an image is cut out
JUMP_BACK = 1  # seconds; a time stamp that goes back by more starts another recording

Stamp = tuple[int, int]


class RecordingCounter:
    """Numbers the recordings of a stream, from decoding times in the file's order."""

    def __init__(self, time_base: Fraction) -> None:
        self._limit = JUMP_BACK / time_base
        self._latest: int | None = None
        self._number = 0

    def number(self, tick: int) -> int:
        """Number, from 0, of the recording of a packet with decoding time `tick`."""
        if self._latest is not None and tick < self._latest - self._limit:
            self._number += 1
            self._latest = tick
        self._latest = tick if self._latest is None else max(self._latest, tick)
        return self._number


@dataclass(frozen=True)
class Piece:
    """A part of the clip without a pause.

    Attributes:
        first, last: stamps of its first and last image.
        start: ticks from the start of the clip to its first image.
    """

    first: Stamp
    last: Stamp
    start: int


@dataclass(frozen=True)
class Pieces:
    """The pieces of a clip, in order; at least one.

    Attributes:
        pieces: see `Piece`.
        step: median distance of successive images in ticks.
        time_base: seconds per tick.
    """

    pieces: list[Piece]
    step: int
    time_base: Fraction

    @classmethod
    def from_stamps(cls, stamps: Iterable[Stamp], time_base: Fraction) -> "Pieces":
        """Cut at pauses and between recordings; after a cut the next piece starts one step later.

        Args:
            stamps: stamps of the images from the clip's first one on, in any order.
            time_base: seconds per tick.
        """
        ordered = sorted(set(stamps))
        limit = PAUSE / time_base
        steps = [b[1] - a[1] for a, b in pairwise(ordered) if a[0] == b[0]]
        step = median_low(steps) if steps else 0
        pieces = [Piece(ordered[0], ordered[0], 0)]
        for previous, stamp in pairwise(ordered):
            current = pieces[-1]
            if stamp[0] != previous[0] or stamp[1] - previous[1] > limit:
                start = current.start + previous[1] - current.first[1] + min(step, int(limit))
                pieces[-1] = Piece(current.first, previous, start=current.start)
                pieces.append(Piece(stamp, stamp, start))
        pieces[-1] = Piece(pieces[-1].first, ordered[-1], pieces[-1].start)
        return cls(pieces, step, time_base)

    def tick(self, stamp: Stamp) -> int:
        """Ticks from the start of the clip to an image; negative before the start."""
        piece = self._piece(stamp)
        return piece.start + stamp[1] - piece.first[1]

    def clip_time(self, recording: int, time: Fraction | float) -> float | None:
        """Seconds from the start of the clip to a sound; None if its time is cut out.

        Args:
            recording: number of the sound's recording, from 0; larger ones count as the last.
            time: seconds on the file's clock.
        """
        recording = min(recording, self.pieces[-1].first[0])
        tick = time / self.time_base
        piece = self._piece((recording, tick))
        if piece is not self.pieces[-1] and tick - piece.last[1] > self.step:
            return None
        return float((piece.start + tick - piece.first[1]) * self.time_base)

    def pauses(self) -> list[tuple[float, float]]:
        """(seconds into the clip, seconds cut out) of each pause within a recording."""
        base = self.time_base
        return [
            (float(b.start * base), float((b.first[1] - a.last[1]) * base))
            for a, b in pairwise(self.pieces)
            if a.first[0] == b.first[0]
        ]

    def recordings(self) -> int:
        """Number of consecutive recordings."""
        return len({piece.first[0] for piece in self.pieces})

    def _piece(self, stamp: tuple[int, float]) -> Piece:
        at = bisect_right(self.pieces, stamp, key=lambda piece: piece.first)
        return self.pieces[max(0, at - 1)]


def spread_duplicates(ticks: Sequence[int], step: int) -> list[int | Fraction]:
    """Space images with equal ticks evenly over the time up to the next tick.

    Args:
        ticks: ticks of the images, ascending.
        step: duration in ticks for images that share the last tick.
    """
    groups = [(tick, len(list(same))) for tick, same in groupby(ticks)]
    ends = [tick for tick, _ in groups[1:]] + [groups[-1][0] + step]
    result: list[int | Fraction] = []
    for (tick, count), end in zip(groups, ends, strict=True):
        result.append(tick)
        result += [tick + Fraction(end - tick, count) * k for k in range(1, count)]
    return result


@dataclass(frozen=True)
class Timeline:
    """Source image of each frame of the clip.

    Attributes:
        images: number, from 0, of the decodable source image of frames 1, 2, ...
        undecodable: ids of frames whose source image is damaged and replaced by a neighbor.
        duration: seconds from the first image's start to the last one's end.
    """

    images: list[int]
    undecodable: list[int]
    duration: Fraction


def build_timeline(
    decoded: Sequence[int | Fraction],
    damaged: Sequence[int | Fraction],
    last_duration: int,
    time_base: Fraction,
) -> Timeline:
    """Choose for frame k, at (k - 1) / 25 s, the source image with the nearest time stamp.

    Time zero is the first decodable image. Damaged images count if they lie between decodable
    ones. Arithmetic is exact; of two equally near images the earlier one is taken.

    Args:
        decoded: distinct time stamps of the decodable images in ticks, ascending.
        damaged: time stamps of the damaged images in ticks.
        last_duration: duration of the last image in ticks.
        time_base: seconds per tick.
    """
    start, end = decoded[0], decoded[-1]
    bad = {stamp for stamp in damaged if start < stamp < end}
    everything = sorted(bad | set(decoded))
    duration = (end + last_duration - start) * time_base
    count = max(1, round(duration * FPS))
    images, undecodable = [], []
    for index in range(count):
        time = start + Fraction(index, FPS) / time_base
        if everything[_nearest(everything, time)] in bad:
            undecodable.append(index + 1)
        images.append(_nearest(decoded, time))
    return Timeline(images, undecodable, Fraction(duration))


def _nearest(stamps: Sequence[int | Fraction], time: Fraction) -> int:
    right = bisect_left(stamps, time)
    if right == 0:
        return 0
    if right == len(stamps):
        return right - 1
    return right - 1 if time - stamps[right - 1] <= stamps[right] - time else right
