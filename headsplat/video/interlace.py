"""Interlaced video: finding out whether images consist of two moments, and mending it."""

import re
from collections import deque
from collections.abc import Iterable, Iterator

import av
import numpy as np
from av.filter import Graph
from av.video.frame import VideoFrame

from headsplat.video.shown import Shape

ROWS, COLUMNS = 192, 512  # that are looked at, in the middle, where the face is
MOVED = 12  # levels; below, a pixel counts as still, and stillness does not comb
ENOUGH = 200  # moving pixels without which an image says nothing
CLEAR = 1.2  # how much better one order of the fields must explain the motion
CERTAIN = 5  # combed images that are needed where nothing in the file says interlaced
WHOLE = 8  # whole images after which a video without a combed one is not looked at any more

# Number of an image in display order, its shape, and the image.
Decoded = tuple[int, Shape, VideoFrame]
TOP, BOTTOM = "tff", "bff"  # which field is the earlier one; bwdif's names


class Combing:
    """Looks at a sample of a video's images for combed edges.

    Flags alone do not tell: much that is flagged as interlaced holds whole images, and flags get
    lost. Of three images that follow each other, the lines of the middle one fit better between
    those of the image before, or of the one after, when its two fields are of different times.
    """

    def __init__(self) -> None:
        self._seen = self._flagged = 0
        self._next = 2
        self._votes = {TOP: 0, BOTTOM: 0, None: 0}
        self._planes: deque[np.ndarray] = deque(maxlen=3)

    def look(self, frame: VideoFrame) -> None:
        """Take note of the next image."""
        number = self._seen
        self._seen += 1
        self._flagged += frame.interlaced_frame
        if number < self._next - 2 or (self._votes[None] >= WHOLE and not self._combed()):
            return
        plane = _luma(frame)
        if plane is not None and (not self._planes or plane.shape == self._planes[-1].shape):
            self._planes.append(plane)
        if number == self._next:
            if len(self._planes) == 3:
                self._vote(field_order(*self._planes))
            self._planes.clear()
            # Ever farther apart, so that long videos cost little more than short ones.
            self._next += 5 + number // 8

    def _vote(self, moved: tuple[bool, str | None]) -> None:
        if moved[0]:
            self._votes[moved[1]] += 1

    def _combed(self) -> int:
        return self._votes[TOP] + self._votes[BOTTOM]

    def order(self) -> str | None:
        """The field order of a combed video, None if its images are whole."""
        combed, whole = self._combed(), self._votes[None]
        order = max((TOP, BOTTOM), key=self._votes.__getitem__)
        if 2 * self._flagged >= self._seen:
            return order if combed > whole else None
        sure = self._votes[order] >= max(CERTAIN, 4 * whole, 0.9 * combed)
        return order if sure else None


def field_order(before: np.ndarray, now: np.ndarray, after: np.ndarray) -> tuple[bool, str | None]:
    """Whether enough moves to tell, and the order of the fields of `now`, None if it is whole.

    Args:
        before: brightness of an image, int16 (H, W).
        now: of the next one.
        after: of the one after that.
    """
    rows = (len(now) - 2) // 2 * 2
    around = now[:rows] + now[2 : rows + 2]
    before, now, after = (plane[1 : rows + 1] for plane in (before, now, after))
    moving = np.abs(before - after) > MOVED
    if moving.sum() < ENOUGH:
        return False, None
    earlier, same, later = (
        np.where(moving, np.abs(around - 2 * plane), 0).sum(axis=1, dtype=np.int64)
        for plane in (before, now, after)
    )
    # The rows left are a bottom row, a top row, and so on. Where the top field is the earlier one,
    # top rows of the image before and bottom rows of the image after are farthest away in time.
    top_first = earlier[1::2].sum() + later[0::2].sum()
    bottom_first = earlier[0::2].sum() + later[1::2].sum()
    # In whole images of motion the lines fit best between those of their own image.
    if same.sum() < 0.7 * min(top_first, bottom_first):
        return True, None
    if max(top_first, bottom_first) < CLEAR * min(top_first, bottom_first):
        return False, None
    return True, TOP if top_first > bottom_first else BOTTOM


def _luma(frame: VideoFrame) -> np.ndarray | None:
    """Brightness of the middle, int16 (H, W), about 8 bits; None for formats without a plane."""
    layout = frame.format
    known = re.fullmatch(r"(yuvj?a?\d+p|gray|nv\d\d)(\d+)?(le)?", layout.name)
    if known is None or frame.height < 64:
        return None
    bits = layout.components[0].bits
    plane = frame.planes[0]
    kind = np.uint8 if bits == 8 else np.dtype("<u2")
    wide = np.frombuffer(plane, kind).reshape(plane.height, -1)
    # An even first row, so that fields stay where they are.
    top, left = max(0, frame.height - ROWS) // 4 * 2, max(0, frame.width - COLUMNS) // 2
    values = wide[: frame.height, : frame.width][top : top + ROWS, left : left + COLUMNS]
    return (values if bits == 8 else values >> (bits - 8)).astype(np.int16)


def deinterlaced(frames: Iterable[Decoded], order: str) -> Iterator[Decoded]:
    """Whole images of combed ones, of the time of their earlier field.

    An image depends on its two neighbors alone.

    Args:
        frames: in display order.
        order: `TOP` or `BOTTOM`.
    """
    graph, kind = None, None
    waiting: deque[Decoded] = deque()
    for number, shape, frame in frames:
        new = frame.width, frame.height, frame.format.name
        if new != kind:
            if graph is not None:
                yield from _finish(graph, waiting)
            graph, kind = _graph(frame, order), new
        waiting.append((number, shape, frame))
        graph.push(frame)
        yield from _ready(graph, waiting)
    if graph is not None:
        yield from _finish(graph, waiting)


def _graph(frame: VideoFrame, order: str) -> Graph:
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format.name, time_base=frame.time_base
    )
    filter_ = graph.add("bwdif", f"mode=send_frame:parity={order}:deint=all")
    sink = graph.add("buffersink")
    source.link_to(filter_)
    filter_.link_to(sink)
    graph.configure()
    return graph


def _ready(graph: Graph, waiting: deque[Decoded]) -> Iterator[Decoded]:
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        number, shape, source = waiting.popleft()
        frame.colorspace, frame.color_range = source.colorspace, source.color_range
        yield number, shape, frame


def _finish(graph: Graph, waiting: deque[Decoded]) -> Iterator[Decoded]:
    graph.push(None)
    yield from _ready(graph, waiting)
