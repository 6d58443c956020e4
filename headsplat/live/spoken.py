"""An avatar that talks for as long as a call lasts: sound in pieces, images with the same sound.

Between words and while nobody speaks it is fed with silence, so that head, gaze and lids go on.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import av
import numpy as np

from headsplat.avatar import WHITE, Avatar, moving_parts
from headsplat.avatar_files import TRACK_FILE
from headsplat.live.drawing import LiveRenderer
from headsplat.live.driving import Posed
from headsplat.runtime.errors import UserError
from headsplat.speech.audio import RATE
from headsplat.track import read_track

_RATES = (8000, 96000)  # Hz, lowest and highest


@dataclass(frozen=True, eq=False)
class Shown:
    """One image and the sound that belongs to it.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        sound: (n,) int16 of 1 / fps seconds, as it was said; None of silence that was filled in.
    """

    image: np.ndarray
    sound: np.ndarray | None


class SpokenStream:
    """Turns sound of any rate into images at the frame rate of the avatar's clip.

    An image follows its sound by `latency` seconds and the time of drawing.

    Args:
        avatar: read from a folder that has a voice beside it.
        rate: of the sound, Hz.
        height: of the images in pixels; 0 for the clip's.
        background: red, green and blue in 0..1.

    Attributes:
        fps: images a second.
        width: of the images.
        height: of the images.
        latency: seconds of sound that an image waits for.

    Raises:
        UserError: the avatar has no voice, or the rate is beyond 8 to 96 kHz.
    """

    def __init__(
        self,
        avatar: Avatar,
        rate: int,
        height: int = 0,
        background: tuple[float, float, float] = WHITE,
    ) -> None:
        if not _RATES[0] <= rate <= _RATES[1]:
            raise UserError(f"sound of {rate} Hz: expected {_RATES[0]} to {_RATES[1]}")
        self._speaker = avatar.speaker()
        track = read_track(avatar.folder / TRACK_FILE, avatar.head)
        self._renderer = LiveRenderer(avatar, track, height, background)
        self.width, self.height = self._renderer.width, self._renderer.height
        self.fps, self.rate, self.latency = track.fps, rate, self._speaker.latency
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
        self._rest = np.zeros(0, np.int16)
        self._pieces: deque[np.ndarray | None] = deque()
        self._count = 0  # pieces so far

    def say(self, samples: np.ndarray) -> Iterator[Shown]:
        """Images that sound (n,) int16 mono makes due, which may be none yet."""
        self._rest = np.concatenate([self._rest, samples.astype(np.int16)])
        while len(self._rest) >= (size := self._size()):
            piece, self._rest = self._rest[:size], self._rest[size:]
            yield from self._feed(piece, heard=True)

    def wait(self) -> Iterator[Shown]:
        """Images of 1 / fps seconds of silence."""
        yield from self._feed(np.zeros(self._size(), np.int16), heard=False)

    def flush(self) -> Iterator[Shown]:
        """The images of all that was said."""
        if len(self._rest):
            yield from self.say(np.zeros(self._size() - len(self._rest), np.int16))
        while any(piece is not None for piece in self._pieces):
            yield from self.wait()

    def forget(self) -> None:
        """Leave out what was said and not shown yet, because the speaker was interrupted."""
        self._rest = self._rest[:0]
        self._pieces = deque(None for _ in self._pieces)

    def _size(self) -> int:
        """Samples of the next piece."""
        first, last = (round(k * self.rate / self.fps) for k in (self._count, self._count + 1))
        return last - first

    def _feed(self, piece: np.ndarray, heard: bool) -> Iterator[Shown]:
        self._pieces.append(piece if heard else None)
        frame = av.AudioFrame.from_ndarray(piece[None], format="s16", layout="mono")
        frame.sample_rate = self.rate
        self._count += 1
        for made in self._resampler.resample(frame):
            frames = self._speaker.feed(made.to_ndarray()[0], recorded=heard)
            if frames is None:
                continue
            for part in zip(*(value.split(1) for value in moving_parts(frames)), strict=True):
                image = self._renderer.draw(Posed(*part))
                yield Shown(image, self._pieces.popleft() if self._pieces else None)
