"""Duration of a video as its header states it: no decoder, and a few small reads.

MP4 and QuickTime: ISO/IEC 14496-12, `moov/mvhd`. Matroska and WebM: RFC 9559, `Segment/Info`.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from headsplat.runtime.regular import open_regular

# Elements of a file that are looked at: real files have a few before the header, some broken ones
# millions.
_MOST_ELEMENTS = 1000
# Of a second: no codec shows a person in fewer, so what states less is broken.
_LEAST_BYTES = 200
_EBML, _SEGMENT, _INFO, _SCALE, _DURATION = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x2AD7B1, 0x4489
_LARGEST_INFO = 1 << 16  # bytes
_NANOSECONDS = 1_000_000  # of a Matroska tick, unless the file says otherwise


def stated_seconds(path: Path | str) -> float | None:
    """Seconds that the header states; None where it states none that can be, or is not known."""
    try:
        with open_regular(path) as file:
            first = file.read(4)
            seconds = _matroska(file) if first == _EBML.to_bytes(4, "big") else _mp4(file)
            most = file.seek(0, 2) / _LEAST_BYTES
    except (OSError, ValueError, IndexError, struct.error, ZeroDivisionError, OverflowError):
        return None
    return seconds if seconds and 0 < seconds <= most else None


def _mp4(file: BinaryIO) -> float | None:
    """Duration of the movie header: version, times of 4 or 8 bytes, time scale, duration."""
    end = file.seek(0, 2)
    for kind, start, stop in _boxes(file, 0, end):
        if kind == b"moov":
            for inner, place, _ in _boxes(file, start, stop):
                if inner == b"mvhd":
                    file.seek(place)
                    data = file.read(32)
                    form, at = (">IQ", 20) if data[0] == 1 else (">II", 12)
                    scale, duration = struct.unpack_from(form, data, at)
                    # All ones: not known.
                    return None if duration + 1 in (1 << 32, 1 << 64) else duration / scale
            return None
    return None


def _boxes(file: BinaryIO, place: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte of the content and end of each box."""
    for _ in range(_MOST_ELEMENTS):
        if place > end - 8:
            return
        file.seek(place)
        size, kind = struct.unpack(">I4s", file.read(8))
        header = 8
        if size == 1:  # a long size follows
            size, header = int.from_bytes(file.read(8), "big"), 16
        if size == 0:  # up to the end
            size = end - place
        if size < header:
            return
        yield kind, place + header, place + size
        place += size


def _matroska(file: BinaryIO) -> float | None:
    """Duration in ticks of the segment's information, times nanoseconds a tick."""
    end = file.seek(0, 2)
    for kind, start, stop in _elements(file, 0, end):
        if kind != _SEGMENT:
            continue
        for inner, place, after in _elements(file, start, stop):
            if inner == _INFO and after - place <= _LARGEST_INFO:
                fields = {}
                for name, begin, finish in _elements(file, place, after):
                    file.seek(begin)
                    fields[name] = file.read(finish - begin)
                scale = int.from_bytes(fields.get(_SCALE, b""), "big") or _NANOSECONDS
                data = fields.get(_DURATION, b"")
                ticks = struct.unpack(">f" if len(data) == 4 else ">d", data)[0]
                return ticks * scale / 1e9
        return None
    return None


def _elements(file: BinaryIO, place: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Id, first byte of the content and end of each EBML element."""
    for _ in range(_MOST_ELEMENTS):
        if place >= end:
            return
        file.seek(place)
        head = file.read(12)
        width = 9 - head[0].bit_length()  # of the id, by its leading zeros
        width_of_size = 9 - head[width].bit_length()
        if width > 4 or width_of_size > 8:
            return
        start = place + width + width_of_size
        size = int.from_bytes(head[width : width + width_of_size], "big")
        size &= (1 << 7 * width_of_size) - 1
        unknown = size == (1 << 7 * width_of_size) - 1  # as in streams: up to the end
        place = end if unknown else min(start + size, end)
        yield int.from_bytes(head[:width], "big"), start, place
