"""What a voice is learned from: the frames of a clip with their sound, lips and mouth values."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from headsplat.heads.model import HeadModel
from headsplat.runtime.errors import UserError
from headsplat.runtime.logs import log
from headsplat.speech.audio import NoSpeech, Speech
from headsplat.speech.features import Normalization, at, frame_windows, log_mels, spoken
from headsplat.speech.lips import Lips, LipShapes
from headsplat.speech.mouth import MouthColumns
from headsplat.speech.sync import correction, lip_lag
from headsplat.track import Track, read_track

LEAST_SECONDS, ENOUGH_SECONDS = 5.0, 20.0  # of speech
LEAST_FRAMES = 100  # with sound; of fewer, cross-validation leaves next to nothing to learn from
FARTHEST = 1e4  # mm of a lip from the head's origin


@dataclass(frozen=True, eq=False)
class Clip:
    """The N tracked frames of a clip with a face, in order of their ids.

    Attributes:
        track: frames with a face.
        times: (N,) seconds at which their sound is read.
        mels: (m, 40) log-mels of the sound.
        levels: of these.
        columns: which codes are the mouth's.
        values: (N, K) mouth values.
        lips: evaluates lips.
        seen: the track's lips.
    """

    track: Track
    times: np.ndarray
    mels: np.ndarray
    levels: Normalization
    columns: MouthColumns
    values: np.ndarray
    lips: Lips
    seen: LipShapes

    def shapes(self, values: np.ndarray) -> LipShapes:
        """Lips of (N, K) mouth values on the clip's own upper faces."""
        return self.lips.shapes(self.columns.put(self.codes(), values))

    def part(self, rows: np.ndarray) -> "Clip":
        """The same clip with some of its frames."""
        return replace(
            self, track=self.track[rows], times=self.times[rows], values=self.values[rows],
            seen=self.seen.rows(rows),
        )  # fmt: skip

    def codes(self) -> Tensor:
        """(N, C) float32."""
        return self.track.codes().vector

    def windows(self) -> np.ndarray:
        """(N, D) normalized log-mels around each frame."""
        return frame_windows(self.levels.apply(self.mels), self.times)


def usable_frames(path: Path, head: HeadModel) -> Track:
    """The frames of a track that show a face, in order of their ids.

    Raises:
        UserError: the track cannot be read, is not of this head, or no frame has a face.
    """
    track = read_track(path, head)
    track = track[np.flatnonzero(~track.interpolated)]
    if len(track) == 0:
        raise UserError(f"{path}: no frame has a face; track another clip")
    return track[np.argsort(track.ids, kind="stable")]


def prepare(track: Track, speech: Speech, head: HeadModel) -> tuple[Clip, float | None]:
    """The clip, in sync, and the lag that was found in it, see `lip_lag`.

    Args:
        track: from `usable_frames`.
        speech: the clip's sound from the time of its first frame on.
        head: head model of the track.

    Raises:
        NoSpeech: too little speech.
        NoLips: the head model lacks landmarks of the lips.
        UserError: the track's codes are those of no face.
    """
    times, mels = (track.ids - 1) / track.fps, log_mels(speech.samples)
    heard = times < speech.seconds
    seconds = float(at(spoken(mels), times)[heard].sum() / track.fps)
    if seconds < LEAST_SECONDS:
        raise NoSpeech(
            f"the clip has {seconds:.1f} s of speech, a voice needs {LEAST_SECONDS:.0f} or more; "
            "record the subject talking for a minute, or use voice phones"
        )
    if seconds < ENOUGH_SECONDS:
        log.warning("%.1f s of speech: a voice gets better up to a minute, %.0f s at least",
                    seconds, ENOUGH_SECONDS)  # fmt: skip
    track, times = track[heard], times[heard]
    if len(times) < LEAST_FRAMES:
        raise NoSpeech(
            f"the clip has {len(times)} frames with sound, a voice needs {LEAST_FRAMES} or more; "
            "record the subject at 25 frames a second"
        )
    lips = Lips(head, track.identity())
    condition, columns = track.codes().vector, MouthColumns.of(head)
    levels, seen = Normalization.of(mels), lips.shapes(condition)
    if not (np.abs(seen.vertices) < FARTHEST).all():
        raise UserError("the track's codes are far beyond any face; track the clip again")
    lag = lip_lag(levels.apply(mels), times, seen.opening)
    if shift := correction(lag):
        log.warning("sound and lips are %.0f ms apart; corrected", 1000 * shift)
    values = columns.values(condition)
    return Clip(track, times + shift, mels, levels, columns, values, lips, seen), lag
