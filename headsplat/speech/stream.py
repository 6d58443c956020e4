"""Frame codes while somebody speaks: the personal voice on chunks of sound.

A frame needs the sound up to `LOOK_AHEAD` seconds after it, which is the latency beside the time of
computing. Closures by phones are left out, because recognition needs whole sounds.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from headsplat.drive.subject import DrivenSubject
from headsplat.drive.trunk_motion import trunk_below
from headsplat.frame_code import FrameCode
from headsplat.runtime.errors import UserError
from headsplat.speech.audio import RATE
from headsplat.speech.features import (
    BANDS,
    HOP,
    LONGEST_STOP,
    LOOK_AHEAD,
    OFFSETS,
    WINDOW,
    Normalization,
    frame_windows,
    mels_of_windows,
)
from headsplat.speech.idle import idle_motion
from headsplat.speech.mouth import MouthColumns, with_mouth
from headsplat.speech.pauses import EASE, STRENGTH
from headsplat.speech.personal import Voice
from headsplat.speech.texture import loop_clip
from headsplat.track import Frame, Track

LOOP = 60.0  # seconds of head motion that repeat
PRIOR = 300  # rows of log-mels that the clip's own levels count as: three seconds
_QUIET = -1.2  # normalized loudness below which a row is a pause
_EASE = EASE * RATE / HOP  # rows in which the lips close
_LOUDEST = 16.0  # samples beyond that are in other units than -1..1


class Speaker:
    """Turns 16 kHz chunks into frames of one subject.

    The mouth follows the voice. Head, gaze and lids repeat every minute, from the subject's clip or
    synthetic where it is too short. A trunk follows the head where the subject's track has one.

    Args:
        subject: the driven subject.
        track: its track, which gives camera and frame rate.
        voice: its voice.

    Attributes:
        latency: seconds of sound that a frame waits for.
    """

    latency = LOOK_AHEAD

    def __init__(self, subject: DrivenSubject, track: Track, voice: Voice) -> None:
        self._subject, self._track, self._voice = subject, track, voice
        self._columns = MouthColumns.of(subject.head)
        self._texture = loop_clip(track, LOOP)
        if self._texture is None:
            times = np.arange(round(LOOP * track.fps)) / track.fps
            self._texture = idle_motion(subject, times, np.zeros(len(times)), 0, True)
        self._trunk = None
        if subject.track.trunk_R is not None:
            # Of three loops the middle one, whose ends meet.
            poses = (self._texture.rotation, self._texture.translation)
            whole = trunk_below(subject, *(torch.cat([part] * 3) for part in poses))
            self._trunk = whole.chunk(3)[1]
        # The first window is centered on time zero.
        self._sound = np.zeros(WINDOW // 2, np.float32)
        self._mels = np.zeros((0, BANDS), np.float32)
        self._first_row = 0  # number of the first kept row of log-mels
        self._frames, self._samples = 0, 0
        self._end: int | None = None  # number of frames of the whole sound, once it is known
        self._quiet = LONGEST_STOP  # rows since the last loud one
        self._rest: list[float] = []
        self._sums = np.zeros((3, BANDS))

    def feed(self, chunk: np.ndarray, recorded: bool = True) -> Frame | None:
        """Frames that the sound so far is enough for.

        Args:
            chunk: (n,) float32 mono at 16 kHz in -1..1, of any length.
            recorded: whether it is a part of the recording; False for silence that fills the time
                until somebody speaks, which says nothing of the recording's levels.

        Returns:
            A batch of frames with ids from 1 on, or None if there is none yet.

        Raises:
            UserError: it is no such chunk, or the speaker was finished.
        """
        if self._end is not None:
            raise UserError("this speaker was finished; make another one for another sound")
        return self._heard(_checked(chunk), recorded)

    def _heard(self, chunk: np.ndarray, recorded: bool = True) -> Frame | None:
        self._samples += len(chunk)
        self._sound = np.concatenate([self._sound, chunk])
        count = (len(self._sound) - WINDOW) // HOP + 1
        if count <= 0:
            return None
        windows = np.lib.stride_tricks.sliding_window_view(self._sound, WINDOW)[::HOP][:count]
        fresh = mels_of_windows(windows)
        self._sound = self._sound[count * HOP :]
        self._mels = np.concatenate([self._mels, fresh])
        self._note(fresh, recorded)
        return self._due()

    def finish(self) -> Frame | None:
        """The last frames, as if silence followed; then the speaker can be fed no more."""
        if self._end is not None:
            return None
        self._end = max(1, round(self._samples / RATE * self._track.fps))
        return self._heard(np.zeros(round(LOOK_AHEAD * RATE) + RATE // 10, np.float32))

    def frames(self, chunks: Iterable[np.ndarray]) -> Iterator[Frame]:
        """Batches of frames for all chunks of a sound, in order, the last ones included."""
        for chunk in chunks:
            if (batch := self.feed(chunk)) is not None:
                yield batch
        if (batch := self.finish()) is not None:
            yield batch

    def _levels(self) -> Normalization:
        """Levels of the recording so far; the clip's own count as three seconds."""
        prior, (count, total, square) = self._voice.levels, self._sums
        weight = PRIOR + count
        mean = (PRIOR * prior.mean + total) / weight
        moment = PRIOR * (prior.std**2 + prior.mean**2) + square
        std = np.sqrt(np.maximum(moment / weight - mean**2, 0.01))
        floor = prior.floor + (mean - prior.mean)
        return Normalization(*(value.astype(np.float32) for value in (floor, mean, std)))

    def _note(self, fresh: np.ndarray, recorded: bool) -> None:
        """Update levels and pauses by new rows."""
        if recorded:
            self._sums += [np.full(BANDS, len(fresh)), fresh.sum(0), (fresh**2).sum(0)]
        loud = self._levels().apply(fresh).mean(1) > _QUIET
        for row in loud:
            self._quiet = 0 if row else self._quiet + 1
            self._rest.append(float(np.clip((self._quiet - LONGEST_STOP) / _EASE, 0, 1)))

    def _due(self) -> Frame | None:
        fps, rows = self._track.fps, self._first_row + len(self._mels)
        # The row after the last offset is needed to interpolate.
        last = int((rows - 2 - OFFSETS[-1]) * HOP / RATE * fps + 1e-6)
        numbers = np.arange(self._frames, last + 1 if self._end is None else self._end)
        if len(numbers) == 0:
            return None
        times = numbers / fps
        levels, local = self._levels(), times - self._first_row * HOP / RATE
        windows = frame_windows(levels.apply(self._mels), local)
        made = self._voice.amplified(self._voice.regression.predict(windows)[0])
        place = (local * RATE / HOP).round().astype(int).clip(0, len(self._rest) - 1)
        weight = STRENGTH * np.array(self._rest)[place][:, None]
        made = made * (1 - weight) + weight * self._voice.rest
        self._forget(int(times[-1] * RATE / HOP) + OFFSETS[0] - 2)
        self._frames = int(numbers[-1]) + 1
        return self._batch(numbers, made)

    def _forget(self, row: int) -> None:
        """Drop rows before `row`, which no frame needs any more."""
        drop = row - self._first_row
        if drop > 0:
            self._mels, self._rest = self._mels[drop:], self._rest[drop:]
            self._first_row = row

    def _batch(self, numbers: np.ndarray, mouth: np.ndarray) -> Frame:
        place = torch.from_numpy(numbers % len(self._texture.condition))
        face = self._texture.condition[place]
        condition = with_mouth(face, mouth, self._columns, self._subject.head, self._track)
        condition = self._subject.limits.clamp_codes(condition)
        return Frame(
            numbers + 1, FrameCode(condition.float()), self._texture.rotation[place].float(),
            self._texture.translation[place].float(), self._track.intrinsics(),
            self._track.width, self._track.height,
            None if self._trunk is None else self._trunk[place],
        )  # fmt: skip


def _checked(chunk: np.ndarray) -> np.ndarray:
    """A chunk as float32; `UserError` for other types, channels or units."""
    given = np.asarray(chunk)
    if given.ndim != 1 or (given.dtype.kind != "f" and given.size):
        raise UserError(
            f"a chunk is {given.dtype} of shape {list(given.shape)[:4]}, expected floats of [n] in "
            "-1..1 at 16 kHz; divide 16-bit numbers by 32768, and average channels"
        )
    if not (np.abs(given) <= _LOUDEST).all():
        raise UserError("a chunk has samples that are not in -1..1; divide 16-bit ones by 32768")
    return given.astype(np.float32)
