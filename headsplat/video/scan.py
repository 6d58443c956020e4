"""One decoding pass over a video: packets, time stamps, key frames, shapes, interlacing."""

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
from headsplat.video.display import Shape, ShapeReader
from headsplat.video.interlace import CombingDetector
from headsplat.video.timeline import Pieces, RecordingCounter, Stamp, spread_duplicates


class PacketLog:
    """Time stamps of a stream's packets, by packet number.

    Attributes:
        stamps: stamp of each packet; None before the first packet with a stamp.
        hidden: numbers of the packets that the edit list hides.
    """

    def __init__(self, time_base: Fraction) -> None:
        self.stamps: list[Stamp | None] = []
        self.hidden: set[int] = set()
        self._recordings = RecordingCounter(time_base)

    def add(self, packet: Packet) -> int:
        """Record the next packet before it is decoded; returns its number."""
        shown = packet.dts if packet.pts is None else packet.pts
        decoded = packet.pts if packet.dts is None else packet.dts
        if packet.is_discard:
            self.hidden.add(len(self.stamps))
        if shown is None:
            # It repeats the previous stamp; `spread_duplicates` spaces repeated stamps evenly.
            self.stamps.append(self.stamps[-1] if self.stamps else None)
        else:
            self.stamps.append((self._recordings.number(decoded), shown))
        return len(self.stamps) - 1

    def discard_stamps(self) -> None:
        """Discard all stamps, which FFmpeg invents for streams without a container."""
        self.stamps = [None] * len(self.stamps)

    def number_stamps(self, images: Sequence[int]) -> None:
        """Give the packets `images`, in display order, the stamps 0, 1, 2, ..."""
        self.discard_stamps()
        for place, number in enumerate(images):
            self.stamps[number] = (0, place)

    def from_stamp(self, start: Stamp) -> list[Stamp]:
        """Stamps of the packets that are shown at `start` or later."""
        return [
            stamp
            for number, stamp in enumerate(self.stamps)
            if stamp is not None and stamp >= start and number not in self.hidden
        ]


@dataclass
class Scan:
    """Result of one pass.

    Attributes:
        log: the packets.
        images: packet number of each decodable image, in display order.
        keyframes: the key frames among them, as in `VideoInfo`.
        shapes: number of images of each shape.
        turns: (image number, shape) where the shape changes.
        colors: color metadata of the first image.
        fields: field order, as in `VideoInfo`.
        sample: the first image.
        final_duration: stored duration of the last image in ticks; 0 if unknown.
        end: offset in the file behind the last packet with a known position.
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
    """Decode a whole video, one image at a time."""
    tags = Colors.of(stream.codec_context, Colors())
    scan = Scan(PacketLog(stream.time_base), [], [], Counter(), [], None, None, None, 0, 0)
    shapes, combing = ShapeReader(), CombingDetector()
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
            combing.add(frame)
    contents = Counter(content for _, _, _, content in keys)
    places = Counter((place, content) for _, _, place, content in keys)
    # After a seek a key frame is identified by content and file position, so these must be unique.
    # Some files have no positions after a seek; then the content alone must be unique.
    scan.keyframes = [
        [number, stamp, place, content]
        for number, stamp, place, content in keys
        if number in seen and (places[place, content] if place else contents[content]) == 1
    ]
    scan.colors = scan.sample and Colors.of(scan.sample, tags)
    scan.fields = combing.order()
    return scan


class Times:
    """Times of a scan's images on the time axis of the clip.

    The decoder returns images in display order, so sorted stamps are assigned to images in order.
    This changes nothing for correct stamps, and repairs stamps that are in decoding order.

    Attributes:
        stamps: stamp of each decodable image in the file.
        pieces: the pieces of the clip.
        ticks: ticks of each decodable image since the first one, ascending.
        damaged: ticks of the images that do not decode.
    """

    def __init__(self, scan: Scan, time_base: Fraction) -> None:
        log = scan.log
        self.stamps = sorted(log.stamps[number] for number in scan.images)
        self.pieces = Pieces.from_stamps(log.from_stamp(self.stamps[0]), time_base)
        plain = [self.pieces.tick(stamp) for stamp in self.stamps]
        self._step = _step(plain)
        images = set(scan.images)
        offered = sorted(
            self.pieces.tick(stamp)
            for number, stamp in enumerate(log.stamps)
            if number not in images and number not in log.hidden and stamp is not None
        )
        self.damaged = self._far_from(plain, offered)
        self.ticks = spread_duplicates(plain, round(self._step))

    def _far_from(self, ticks: Sequence[int], offered: Sequence[int]) -> list[int]:
        """Those of the ticks `offered` that are far from all image ticks.

        A packet within three quarters of a frame of an image is the second field of that image,
        or has a rounded stamp.
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
        """Duration of the last image in ticks: as stored, else the median frame distance."""
        return stored if 0 < stored <= longest else round(self._step)


def _step(ticks: Sequence[int]) -> float:
    steps = [b - a for a, b in pairwise(ticks)]
    return median(steps) if steps else 0.0
