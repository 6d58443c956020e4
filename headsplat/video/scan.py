"""One pass over a video's packets and images: what is there, before times are laid over it."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from statistics import median

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from headsplat.video.color import Colors
from headsplat.video.container import packets
from headsplat.video.decode import checksum, decode_packet, is_end
from headsplat.video.interlace import Combing
from headsplat.video.shown import Shape, Shapes
from headsplat.video.timeline import Pieces, Recordings, Stamp, spread


class PacketLog:
    """Time stamps of a stream's packets, by their number.

    Attributes:
        stamps: stamp of each packet; None as long as no packet had one.
        hidden: numbers of the packets that the edit list hides.
    """

    def __init__(self, time_base: Fraction) -> None:
        self.stamps: list[Stamp | None] = []
        self.hidden: set[int] = set()
        self._recordings = Recordings(time_base)

    def add(self, packet: Packet) -> int:
        """Take note of the next packet, before it is decoded; returns its number."""
        shown = packet.dts if packet.pts is None else packet.pts
        decoded = packet.pts if packet.dts is None else packet.dts
        if packet.is_discard:
            self.hidden.add(len(self.stamps))
        if shown is None:
            # It shares the time of the one before until all are spread evenly.
            self.stamps.append(self.stamps[-1] if self.stamps else None)
        else:
            self.stamps.append((self._recordings.number(decoded), shown))
        return len(self.stamps) - 1

    def forget_times(self) -> None:
        """Take the stamps for made up."""
        self.stamps = [None] * len(self.stamps)

    def count_times(self, images: Sequence[int]) -> None:
        """Give the packets `images`, in display order, the stamps 0, 1, 2, ..."""
        self.forget_times()
        for place, number in enumerate(images):
            self.stamps[number] = (0, place)

    def from_stamp(self, start: Stamp) -> list[Stamp]:
        """Stamps of what is shown at `start` or later."""
        return [
            stamp
            for number, stamp in enumerate(self.stamps)
            if stamp is not None and stamp >= start and number not in self.hidden
        ]


@dataclass
class Scan:
    """What one pass found.

    Attributes:
        log: of the packets.
        images: numbers of the packets of the images that decode, in display order.
        keyframes: of those among them, as in `VideoInfo`.
        shapes: how many images have each shape.
        turns: number of each image whose shape is not that of the one before, and its shape.
        colors: of the first image.
        fields: as in `VideoInfo`.
        sample: the first image.
        final_duration: ticks that the last image shows, as stored; 0 if it is not.
        end: byte of the file behind the last packet whose place is known.
    """

    log: PacketLog
    images: list[int]
    keyframes: list[list[int]]
    shapes: Counter[Shape]
    turns: list[tuple[int, Shape]]
    colors: Colors | None
    fields: str | None
    sample: VideoFrame | None
    final_duration: int
    end: int


def scan_video(container: InputContainer, stream: VideoStream) -> Scan:
    """Decode a video from its start to its end, one image at a time."""
    tags = Colors.of(stream.codec_context, Colors())
    scan = Scan(PacketLog(stream.time_base), [], [], Counter(), [], None, None, None, 0, 0)
    shapes, combing = Shapes(), Combing()
    seen: set[int] = set()
    keys: list[list[int]] = []
    last: Shape | None = None
    for packet in packets(container, stream):
        number = len(scan.log.stamps)
        if not is_end(packet):
            scan.log.add(packet)
            scan.end = max(scan.end, (packet.pos or 0) + packet.size)
            if packet.is_keyframe and packet.pts is not None:
                keys.append([number, packet.pts, packet.pos or 0, checksum(packet)])
        for frame in decode_packet(packet, number):
            if frame.pts in seen:
                continue
            seen.add(frame.pts)
            shape = shapes.of(frame)
            if shape != last:
                scan.turns.append((len(scan.images), shape))
                last = shape
            scan.images.append(frame.pts)
            scan.shapes[shape] += 1
            scan.sample = scan.sample or frame
            scan.final_duration = frame.duration or 0
            combing.look(frame)
    contents = Counter(content for _, _, _, content in keys)
    places = Counter((place, content) for _, _, place, content in keys)
    # A key frame is found again by content and place, which have to be its own. Places get lost by
    # seeking in some files, so where it has none its content alone has to be.
    scan.keyframes = [
        [number, stamp, place, content]
        for number, stamp, place, content in keys
        if number in seen and (places[place, content] if place else contents[content]) == 1
    ]
    scan.colors = scan.sample and Colors.of(scan.sample, tags)
    scan.fields = combing.order()
    return scan


class Times:
    """Times of a scan's images on the axis of the clip.

    Images come out of the decoder in display order, whatever their stamps say. So the
    earliest stamp belongs to the first one, and so on: that is the same for right stamps, and mends
    those that are in the order of decoding.

    Attributes:
        stamps: of each decodable image, as the file has them.
        pieces: of the clip.
        ticks: of each decodable image from the first one on, ascending.
        damaged: ticks of the images that do not decode.
    """

    def __init__(self, scan: Scan, time_base: Fraction) -> None:
        log = scan.log
        self.stamps = sorted(log.stamps[number] for number in scan.images)
        self.pieces = Pieces.lay(log.from_stamp(self.stamps[0]), time_base)
        plain = [self.pieces.tick(stamp) for stamp in self.stamps]
        self._step = _step(plain)
        images = set(scan.images)
        offered = sorted(
            self.pieces.tick(stamp)
            for number, stamp in enumerate(log.stamps)
            if number not in images and number not in log.hidden and stamp is not None
        )
        self.damaged = self._far_from(plain, offered)
        self.ticks = spread(plain, round(self._step))

    def _far_from(self, ticks: Sequence[int], offered: Sequence[int]) -> list[int]:
        """Ticks of packets without an image.

        A packet closer than three quarters of a frame to an image is the second field of
        that image or a rounding of its stamp.
        """
        limit = 0.75 * self._step
        result = []
        for tick in offered:
            right = bisect_left(ticks, tick)
            near = ticks[max(0, right - 1) : right + 1]
            if min(abs(tick - other) for other in near) > limit:
                result.append(tick)
        return result

    def last_duration(self, stored: int, longest: Fraction) -> int:
        """Ticks that the last image shows: as stored, else the usual distance."""
        return stored if 0 < stored <= longest else round(self._step)


def _step(ticks: Sequence[int]) -> float:
    steps = [b - a for a, b in pairwise(ticks)]
    return median(steps) if steps else 0.0
