"""Speech as mono samples at 16 kHz, the form that all voices take."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from headsplat.runtime.errors import UserError
from headsplat.runtime.logs import log
from headsplat.video.sound import read_sound

RATE = 16_000  # Hz
LONGEST = 3600.0  # seconds
# Peaks below this are silence: four steps of 16 bits.
SILENT_PEAK = 4 / 32768
CLIPPED_LEVEL, CLIPPED_SHARE = 0.999, 0.005


class NoSpeech(UserError):
    """There is no sound, or too little speech in it."""


@dataclass(frozen=True, eq=False)
class Speech:
    """Sound from the time of the first image on.

    Attributes:
        samples: (n,) float32 in -1..1 at 16 kHz, n > 0.
    """

    samples: np.ndarray

    @property
    def seconds(self) -> float:
        """Length."""
        return len(self.samples) / RATE

    @property
    def silent(self) -> bool:
        """Whether no sample is louder than the noise of 16 bits."""
        return bool(np.abs(self.samples).max() < SILENT_PEAK)

    def frames(self, fps: float) -> int:
        """Number of images that last as long as the sound, at least one."""
        return max(1, round(self.seconds * fps))


def read_speech(path: Path | str, longest: float = LONGEST, cut: bool = False) -> Speech:
    """Read the sound of any sound or video file; see `headsplat.video.sound.read_sound`.

    Args:
        path: the file.
        longest: longest sound that is accepted, seconds.
        cut: of a longer sound, take the beginning.

    Raises:
        NoSpeech: the file has no sound that can be decoded.
        UserError: it cannot be opened, or its sound is too long and wanted whole.
    """
    # One second more than allowed, to notice that there is more.
    sound = read_sound(path, longest + 1, RATE)
    if sound is None or len(sound[0]) == 0:
        raise NoSpeech(f"{path}: has no sound that can be decoded; give a file with speech")
    samples = np.ascontiguousarray(sound[0][:, 0], np.float32)
    most = round(longest * RATE)
    if cut and len(samples) > most:
        log.info("%s: the first %.0f minutes of its sound are used", path, longest / 60)
        samples = samples[:most]
    if len(samples) > most:
        raise UserError(
            f"{path}: its sound is longer than {longest / 60:.0f} minutes; cut it into parts"
        )
    samples = samples[:most]
    clipped = float((np.abs(samples) > CLIPPED_LEVEL).mean())
    if clipped > CLIPPED_SHARE:
        log.warning("%s: %.1f %% of its sound is clipped; record it softer", path, 100 * clipped)
    return Speech(samples)
