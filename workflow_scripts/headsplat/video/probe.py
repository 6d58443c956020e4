"""Reading a video once from end to end, so that later stages know exactly what is in it."""

import hashlib
import logging
import math
from bisect import bisect_left
from fractions import Fraction
from pathlib import Path
from statistics import median

from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from headsplat.cli import available_threads
from headsplat.errors import UserError
from headsplat.regular import open_regular
from headsplat.video.colour import is_hdr
from headsplat.video.decode import decode_packet, open_video, packets
from headsplat.video.info import VideoInfo
from headsplat.video.orientation import Orientation
from headsplat.video.timeline import lay_timeline

log = logging.getLogger(__name__)
SHORTEST = 2  # seconds; less cannot show a head from enough sides


def probe_video(path: Path | str, out: Path | str) -> VideoInfo:
    """Decode the whole video once and publish what was found as `video.json`.

    Pictures that are in the file but do not decode are listed; undecodable pictures at the
    end (a file cut off by a crash or an incomplete download) only shorten the clip.

    Raises:
        UserError: no such file, not a video, no video stream, no time stamps, less than two
            seconds that decode, or the file changed meanwhile.
    """
    before = _stamp(path)
    with open_video(path, available_threads(), strict=True) as (container, stream):
        scan = _scan(container, stream)
        audio = next(iter(container.streams.audio), None)
        declared = stream.frames
        time_base = stream.time_base
        rate = stream.guessed_rate
        aspect = stream.sample_aspect_ratio
        sound = audio and {"sample_rate": audio.rate, "channels": audio.channels}
    if scan.damaged():
        # One damaged picture can take its neighbours with it when several threads decode.
        with open_video(path, 1, strict=True) as (container, stream):
            scan = _scan(container, stream)
    if not scan.stamps:
        raise UserError(f"{path}: no picture of the video can be decoded; give another file")
    timeline = lay_timeline(
        scan.stamps, scan.damaged(), scan.last_duration(rate, time_base), time_base
    )
    total = max(declared - scan.discarded, len(scan.stamps) + len(scan.damaged()))
    if timeline.duration < SHORTEST:
        raise UserError(
            f"{path}: {float(timeline.duration):.2f} s of video can be decoded "
            f"({len(scan.stamps)} of {total} pictures), at least {SHORTEST} s are needed; "
            "give a longer or an undamaged file"
        )
    lost = total - len(scan.stamps)
    if lost:
        log.warning("%s: %d of %d pictures do not decode", path, lost, total)
    first = scan.first
    width, height = _shown_size(first, aspect)
    info = VideoInfo(
        path=str(path),
        bytes=Path(path).stat().st_size,
        sha256=_sha256(path),
        width=width,
        height=height,
        rotation=Orientation.of(first).rotation,
        source_fps=Fraction(len(scan.stamps)) / timeline.duration,
        n_source=len(scan.stamps),
        n_undecodable=lost,
        n_frames=len(timeline.pts),
        duration=float(timeline.duration),
        pts=timeline.pts,
        keyframes=scan.keyframes,
        undecodable=timeline.undecodable,
        time_base=time_base,
        audio=sound,
        hdr=is_hdr(first.color_trc),
    )
    if _stamp(path) != before:
        raise UserError(f"{path}: changed while it was read; let it be whole, and run again")
    info.save(Path(out))
    return info


def _stamp(path: Path | str) -> tuple[int, int, int] | None:
    """What tells that a file was written to or replaced; None if there is none."""
    try:
        state = Path(path).stat()
    except OSError:
        return None
    return state.st_size, state.st_mtime_ns, state.st_ino


class _Scan:
    """Time stamps of one pass: what decoded, what should have, and where decoding can start."""

    def __init__(self) -> None:
        self.stamps: list[int] = []
        self.offered: list[int] = []
        self.keyframes: list[int] = []
        self.first: VideoFrame | None = None
        self.final_duration = 0
        self.discarded = 0  # pictures that the edit list hides

    def damaged(self) -> list[int]:
        """Stamps of packets without a picture.

        A packet closer than three quarters of a frame to a picture is the second field of
        that picture or a rounding of its stamp.
        """
        if not self.stamps:
            return self.offered
        limit = 0.75 * self._step()
        result = []
        for stamp in self.offered:
            right = bisect_left(self.stamps, stamp)
            near = self.stamps[max(0, right - 1) : right + 1]
            if min(abs(stamp - other) for other in near) > limit:
                result.append(stamp)
        return result

    def last_duration(self, rate: Fraction | None, time_base: Fraction) -> int:
        """Ticks that the last picture shows: as stored, else the usual distance."""
        if self.final_duration:
            return self.final_duration
        if len(self.stamps) > 1:
            return round(self._step())
        return round(1 / (rate * time_base)) if rate else 0

    def _step(self) -> float:
        steps = [b - a for a, b in zip(self.stamps, self.stamps[1:], strict=False)]
        return median(steps) if steps else 0.0


def _scan(container: InputContainer, stream: VideoStream) -> _Scan:
    scan = _Scan()
    stamps: set[int] = set()
    latest = -math.inf
    for packet in packets(container, stream):
        scan.discarded += packet.is_discard
        if packet.pts is not None and not packet.is_discard:
            scan.offered.append(packet.pts)
        if packet.is_keyframe and packet.pts is not None:
            scan.keyframes.append(packet.pts)
        for frame in decode_packet(packet):
            scan.first = scan.first or frame
            if frame.pts > latest:
                latest, scan.final_duration = frame.pts, frame.duration or 0
            stamps.add(frame.pts)
    scan.stamps = sorted(stamps)
    scan.offered.sort()
    scan.keyframes.sort()
    return scan


def _shown_size(frame: VideoFrame, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height of the upright picture with square pixels."""
    width, height = round(frame.width * (aspect or 1)), frame.height
    return (height, width) if Orientation.of(frame).transpose else (width, height)


def _sha256(path: Path | str) -> str:
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
