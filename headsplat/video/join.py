"""Lossless concatenation of videos: remuxes video packets and encodes one sound track."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.packet import Packet

from headsplat.runtime.files import publish
from headsplat.video.container import open_media
from headsplat.video.encode import SoundTrack, open_output
from headsplat.video.formats import FORMATS, PNG_ZIP, suffix_of
from headsplat.video.png_zip import join_png_zips


def join_videos(
    parts: Sequence[Path],
    out: Path,
    fps: Fraction | int,
    audio: tuple[np.ndarray, int] | None = None,
) -> None:
    """Concatenate videos of `VideoWriter` into one; equal parts give equal bytes.

    Args:
        parts: videos without sound, of one format and image size, in order; all but the last of one
            length.
        out: video to write, of the same format.
        fps: their frame rate, exact.
        audio: sound that starts with the first image, as in `VideoWriter`; a zip has none.
    """
    if suffix_of(out) == PNG_ZIP:
        join_png_zips(parts, out)
        return
    tick, kind = 1 / Fraction(fps), FORMATS[suffix_of(out)]
    with publish(out) as temporary, open_output(temporary, kind) as video:
        with open_media(parts[0]) as part:
            given = part.streams.video[0]
            stream = video.add_stream_from_template(given)
            stream.metadata.update(given.metadata if kind.alpha else {})  # alpha_mode of WebM
        stream.time_base = tick
        sound = None if audio is None else SoundTrack(*audio, kind.sound)
        if sound is not None:
            sound.open(video)
        count, delay = 0, None
        for path in parts:
            first = count
            for packet in _packets(path):
                times = (packet.pts, packet.dts)
                shown, decoded = (round(time * packet.time_base / tick) for time in times)
                # Decoding times precede display times by the reordering delay. A short last part
                # has a smaller delay, which would leave a gap, so the first part's delay is used.
                delay = -decoded if delay is None else delay
                packet.pts, packet.dts, packet.duration = first + shown, count - delay, 1
                packet.time_base, packet.stream = tick, stream
                video.mux(packet)
                count += 1
                if sound is not None:
                    sound.write_until(count * tick)
        if sound is not None:
            sound.finish(count * tick)


def _packets(path: Path) -> Iterator[Packet]:
    """Packets of a video in decoding order."""
    with open_media(path) as part:
        # The demuxer ends with an empty packet.
        yield from (packet for packet in part.demux(video=0) if packet.dts is not None)
