"""Sound reading, resampled and aligned to the time axis of the clip's images."""

import logging
import math
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from headsplat.runtime.errors import UserError, one_line
from headsplat.video.container import main_video, open_media, packets
from headsplat.video.decode import decode_packet, is_end
from headsplat.video.scan import PacketLog
from headsplat.video.timeline import Pieces, RecordingCounter

log = logging.getLogger(__name__)
LARGEST_GAP = 0.02  # seconds; smaller jumps of the time stamps are rounding, not silence
SUPPORTED_RATES = (8_000, 192_000)  # Hz, lowest and highest
USUAL_RATE = 48_000  # Hz; unsupported rates are resampled to this one
LONGEST = 3600.0  # seconds that are read by default, to bound memory


def read_sound(
    path: Path | str, seconds: float = LONGEST, mono_rate: int | None = None
) -> tuple[np.ndarray, int] | None:
    """Read the sound of a video or audio file, starting at the time of the first image.

    Sound before the first image and during cut pauses is removed. A later start and gaps become
    silence. More than two channels are mixed down to stereo. The first decodable track is used.

    Args:
        path: the file.
        seconds: longest sound to read.
        mono_rate: mix to one channel at this rate in Hz while decoding; None keeps the file's rate.

    Returns:
        (samples float32 (n, 1 or 2) in [-1, 1], sample rate in Hz), or None without sound.

    Raises:
        UserError: the file is missing or cannot be opened.
    """
    with open_media(path, sound=True) as file:
        count = len(sound_tracks(file, path))
    if count == 0:
        return None
    pieces = _pieces(path)
    for number in range(count):
        with open_media(path, sound=True) as file:
            stream = sound_tracks(file, path)[number]
            try:
                sound = _read(file, stream, pieces, seconds, mono_rate)
            except av.error.FFmpegError as error:
                # Of the resampler: some numbers of channels without a layout, absurd rates.
                log.warning("%s: sound of %d channels at %d Hz cannot be converted (%s)",
                            path, stream.channels, stream.rate, one_line(error))  # fmt: skip
                sound = None
        if sound is not None:
            return sound
    log.warning("%s: its sound is empty or cannot be decoded, so the clip has none", path)
    return None


def sound_tracks(container: InputContainer, path: Path | str) -> list[AudioStream]:
    """The decodable sound tracks; logs a warning if there are tracks but none is decodable."""
    streams = container.streams.audio
    known = [s for s in streams if s.codec_context is not None and s.channels and s.rate]
    if streams and not known:
        log.warning("%s: no decoder knows the format of its sound, so the clip has none", path)
    return known


def _pieces(path: Path | str) -> Pieces | None:
    """The pieces of the video's clip, from packets without decoding; None without images."""
    try:
        with open_media(path) as file:
            stream = main_video(file, path)
            first = _first_image(file, stream)
    except UserError:
        return None
    with open_media(path) as file:
        stream = main_video(file, path)
        stamps = PacketLog(stream.time_base)
        for packet in packets(file, stream):
            if not is_end(packet):
                stamps.add(packet)
        start = None if first is None else stamps.stamps[first]
        if start is None:
            return None
        return Pieces.from_stamps(stamps.from_stamp(start), stream.time_base)


def _first_image(file: InputContainer, stream: av.video.stream.VideoStream) -> int | None:
    """Packet number of the first decodable image."""
    for number, packet in enumerate(packets(file, stream)):
        for frame in decode_packet(packet, number):
            return frame.pts
    return None


def _read(
    file: InputContainer,
    stream: AudioStream,
    pieces: Pieces | None,
    seconds: float,
    mono_rate: int | None,
) -> tuple[np.ndarray, int] | None:
    low, high = SUPPORTED_RATES
    rate = mono_rate or (stream.rate if low <= stream.rate <= high else USUAL_RATE)
    channels = 1 if mono_rate or stream.channels == 1 else 2
    longest = math.ceil(seconds * rate)
    blocks: list[np.ndarray] = []
    written = 0
    for time, block in _blocks(file, stream, rate, channels, pieces):
        wanted = written if time is None else round(time * rate)
        if wanted < written - LARGEST_GAP * rate or wanted < 0:
            block = block[max(written, 0) - wanted :]
        elif wanted > written + LARGEST_GAP * rate or written == 0:
            silence = min(wanted, longest) - written
            blocks.append(np.zeros((max(0, silence), channels), np.float32))
            written = min(wanted, longest)
        blocks.append(block)
        written += len(block)
        if written >= longest:
            break
    return (np.concatenate(blocks)[:longest], rate) if blocks else None


def _blocks(
    file: InputContainer,
    stream: AudioStream,
    rate: int,
    channels: int,
    pieces: Pieces | None,
) -> Iterator[tuple[float | None, np.ndarray]]:
    """(seconds on the clip's time axis, samples (n, channels)); None: follows the last block."""
    recordings = RecordingCounter(stream.time_base)
    start: float | None = None
    kind, resampler = None, None
    for frame in _frames(file, stream):
        if frame.sample_rate <= 0 or frame.samples <= 0:
            continue
        time = None
        if frame.pts is not None:
            recording = recordings.number(frame.pts)
            if pieces is None:
                start = frame.time if start is None else start
                time = frame.time - start
            else:
                time = pieces.clip_time(recording, frame.pts * stream.time_base)
                if time is None:
                    continue
        new = frame.format.name, frame.layout.name, frame.layout.nb_channels, frame.sample_rate
        if new != kind:
            # A change to one channel within a stereo track is repeated by `_as_channels`.
            layout = "mono" if 1 in (channels, frame.layout.nb_channels) else "stereo"
            kind, resampler = new, av.AudioResampler(format="fltp", layout=layout, rate=rate)
        for part in resampler.resample(frame):
            yield time, _as_channels(part.to_ndarray().T, channels)
            time = None


def _as_channels(block: np.ndarray, channels: int) -> np.ndarray:
    if block.shape[1] < channels:
        block = np.repeat(block, channels, axis=1)
    elif block.shape[1] > channels:
        block = block.mean(axis=1, keepdims=True)
    # Damaged files contain NaN and infinity.
    return np.clip(np.nan_to_num(block, nan=0.0), -1, 1)


def _frames(file: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    """Decoded frames of sound; undecodable packets are skipped and leave a gap in the stamps."""
    for packet in packets(file, stream):
        try:
            yield from packet.decode()
        except av.error.FFmpegError:
            continue
