"""Videos that follow each other become one, without encoding their images anew."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.packet import Packet

from headsplat.runtime.files import publish
from headsplat.video.container import open_media
from headsplat.video.encode import MP4_OPTIONS, SoundTrack


def join_videos(
    parts: Sequence[Path],
    out: Path,
    fps: Fraction | int,
    audio: tuple[np.ndarray, int] | None = None,
) -> None:
    """Publish the videos of `VideoWriter`, all of one size and rate, as one mp4.

    The same parts give the same bytes.

    Args:
        parts: mp4 files without sound, in order; all but the last of one length.
        out: mp4 to write.
        fps: their image rate, exact.
        audio: sound that starts with the first image, as `VideoWriter` takes it.
    """
    tick = 1 / Fraction(fps)
    with publish(out) as temporary, av.open(
        f"file:{temporary}", "w", format="mp4", options=MP4_OPTIONS
    ) as video:  # fmt: skip
        with open_media(parts[0]) as part:
            stream = video.add_stream_from_template(part.streams.video[0])
        stream.time_base = tick
        sound = None if audio is None else SoundTrack(*audio)
        if sound is not None:
            sound.open(video)
        count, delay = 0, None
        for path in parts:
            first = count
            for packet in _packets(path):
                times = (packet.pts, packet.dts)
                shown, decoded = (round(time * packet.time_base / tick) for time in times)
                # Images are decoded ahead of their time by as many ticks as reordering needs. A
                # short part needs fewer and would leave a gap, so the first one's number is kept.
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
    """A video's images in the order of decoding."""
    with open_media(path) as part:
        # The demuxer ends with an empty packet.
        yield from (packet for packet in part.demux(video=0) if packet.dts is not None)
