"""The constant frame rate of the pipeline, laid over the time stamps of any source.

A stamp is (recording, tick): a file may hold several recordings that follow each other, each with
a clock of its own. Recordings are cut where nothing happens for long, and the pieces that remain
lie end to end on the clip's own axis, which images and sound share.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, pairwise
from statistics import median_low

FPS = 25  # images per second of every clip after ingest
PAUSE = 2  # seconds; a longer stretch without an image is cut out
JUMP_BACK = 1  # seconds; a clock that goes back by more belongs to another recording

Stamp = tuple[int, int]


class Recordings:
    """Numbers the recordings of a stream, from the times of its packets in the file's order."""

    def __init__(self, time_base: Fraction) -> None:
        self._limit = JUMP_BACK / time_base
        self._latest: int | None = None
        self._number = 0

    def number(self, tick: int) -> int:
        """The recording, from 0, that a packet decoded at `tick` belongs to."""
        if self._latest is not None and tick < self._latest - self._limit:
            self._number += 1
            self._latest = tick
        self._latest = tick if self._latest is None else max(self._latest, tick)
        return self._number


@dataclass(frozen=True)
class Piece:
    """A stretch without a pause.

    Attributes:
        first, last: stamps of its first and last image.
        shown: ticks from the start of the clip to its first image.
    """

    first: Stamp
    last: Stamp
    shown: int


@dataclass(frozen=True)
class Pieces:
    """What a clip consists of, in order; never empty.

    Attributes:
        pieces: see `Piece`.
        step: ticks from one image to the next, the median.
        time_base: seconds per tick.
    """

    pieces: list[Piece]
    step: int
    time_base: Fraction

    @classmethod
    def lay(cls, stamps: Iterable[Stamp], time_base: Fraction) -> "Pieces":
        """Cut at pauses and between recordings; behind a cut the clip goes on a step later.

        Args:
            stamps: of the images from the clip's first one on, in any order.
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
                shown = current.shown + previous[1] - current.first[1] + min(step, int(limit))
                pieces[-1] = Piece(current.first, previous, shown=current.shown)
                pieces.append(Piece(stamp, stamp, shown))
        pieces[-1] = Piece(pieces[-1].first, ordered[-1], pieces[-1].shown)
        return cls(pieces, step, time_base)

    def tick(self, stamp: Stamp) -> int:
        """Ticks from the start of the clip to an image; before it they are negative."""
        piece = self._piece(stamp)
        return piece.shown + stamp[1] - piece.first[1]

    def second(self, recording: int, time: Fraction | float) -> float | None:
        """Seconds from the start of the clip to a sound; None for one that is cut out.

        Args:
            recording: number of the sound's recording, from 0; larger ones count as the last.
            time: seconds on the file's own clock.
        """
        recording = min(recording, self.pieces[-1].first[0])
        tick = time / self.time_base
        piece = self._piece((recording, tick))
        if piece is not self.pieces[-1] and tick - piece.last[1] > self.step:
            return None
        return float((piece.shown + tick - piece.first[1]) * self.time_base)

    def pauses(self) -> list[tuple[float, float]]:
        """Seconds into the clip, and seconds cut out there, of each pause of a recording."""
        base = self.time_base
        return [
            (float(b.shown * base), float((b.first[1] - a.last[1]) * base))
            for a, b in pairwise(self.pieces)
            if a.first[0] == b.first[0]
        ]

    def recordings(self) -> int:
        """How many recordings follow each other."""
        return len({piece.first[0] for piece in self.pieces})

    def _piece(self, stamp: tuple[int, float]) -> Piece:
        at = bisect_right(self.pieces, stamp, key=lambda piece: piece.first)
        return self.pieces[max(0, at - 1)]


def spread(ticks: Sequence[int], step: int) -> list[int | Fraction]:
    """Images that share a tick, evenly over the time up to the next one, in their order.

    Args:
        ticks: ascending.
        step: ticks that the last ones share.
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
    """Which source image shows at each output time.

    Attributes:
        images: number of the decodable source image used for ids 1, 2, ..., from 0.
        undecodable: ids whose own source image is damaged, so a neighbor stands in.
        duration: seconds from the first image's start to the last one's end.
    """

    images: list[int]
    undecodable: list[int]
    duration: Fraction


def lay_timeline(
    decoded: Sequence[int | Fraction],
    damaged: Sequence[int | Fraction],
    last_duration: int,
    time_base: Fraction,
) -> Timeline:
    """Choose for each time (k - 1) / 25 s the source image with the nearest time stamp.

    Time zero is the first decodable image; images that only exist damaged count when
    they lie between decodable ones. All arithmetic is exact, a tie takes the earlier image.

    Args:
        decoded: ascending distinct time stamps of the images that decode, ticks.
        damaged: time stamps of the images that do not.
        last_duration: how long the last image shows, in ticks.
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
