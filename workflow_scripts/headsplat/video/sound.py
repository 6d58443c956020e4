"""Reading of a file's sound, on the time axis of its pictures."""

from pathlib import Path

import av
import numpy as np

from headsplat.errors import UserError

GAP = 0.02  # seconds; smaller jumps of the time stamps are rounding, not silence


def read_sound(path: Path | str) -> tuple[np.ndarray, int] | None:
    """Sound of a video or audio file, starting at the time of the first picture.

    Sound before the first picture is cut; a later start and gaps inside become silence; more
    than two channels are mixed down to stereo.

    Returns:
        (samples float32 (n, 1 or 2) in [-1, 1], sample rate in Hz), or None without sound.

    Raises:
        UserError: for a file that is missing or cannot be opened.
    """
    if not Path(path).is_file():
        raise UserError(f"{path}: the sound cannot be read (no such file); give a playable file")
    try:
        start = _first_picture_time(path)
        with av.open(str(path)) as file:
            return _read(file, start) if file.streams.audio else None
    except (OSError, av.error.FFmpegError) as error:
        raise UserError(
            f"{path}: the sound cannot be read ({error}); give a playable file"
        ) from error


def _first_picture_time(path: Path | str) -> float | None:
    with av.open(str(path)) as file:
        for stream in file.streams.video[:1]:
            for frame in file.decode(stream):
                if frame.time is not None:
                    return frame.time
    return None


def _read(file: av.container.InputContainer, start: float | None) -> tuple[np.ndarray, int] | None:
    stream = file.streams.audio[0]
    rate = stream.rate
    layout = "mono" if stream.channels == 1 else "stereo"
    resampler = av.AudioResampler(format="fltp", layout=layout, rate=rate)
    blocks: list[np.ndarray] = []
    written = 0
    for frame in _frames(file, stream):
        if start is None:
            start = frame.time or 0.0
        wanted = written if frame.time is None else round((frame.time - start) * rate)
        for part in resampler.resample(frame):
            block = np.clip(part.to_ndarray().T, -1, 1)
            if wanted < written - GAP * rate or wanted < 0:
                block = block[max(written, 0) - wanted :]
            elif wanted > written + GAP * rate or written == 0:
                blocks.append(np.zeros((wanted - written, block.shape[1]), np.float32))
                written = wanted
            blocks.append(block)
            written += len(block)
            wanted = written
    return (np.concatenate(blocks), rate) if blocks else None


def _frames(file: av.container.InputContainer, stream: av.audio.stream.AudioStream):
    """Decoded sound; packets that do not decode leave a gap, which the time stamps show."""
    for packet in file.demux(stream):
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            continue
