"""The voices `personal` and `phones`: a motion from speech in the subject's own manner."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from headsplat.drive.kinds import ABSOLUTE
from headsplat.drive.motion import Motion
from headsplat.drive.subject import DrivenSubject
from headsplat.heads.model import HeadModel
from headsplat.runtime.logs import log
from headsplat.speech.audio import Speech
from headsplat.speech.closures import close_lips
from headsplat.speech.features import Normalization, at, log_mels, loudness, spoken
from headsplat.speech.lips import Lips
from headsplat.speech.mouth import JAW, MouthColumns, with_mouth
from headsplat.speech.pauses import rest_in_pauses
from headsplat.speech.personal import Voice, voice_or_none
from headsplat.speech.phones import Phones, as_one_vowel, find_phones
from headsplat.speech.upper_face import played_poses, upper_face
from headsplat.speech.visemes import viseme_values
from headsplat.speech.voices import SpeechOptions
from headsplat.track import Track

_WIDEST = 97  # percentile of the clip's jaw angle that open vowels reach
_CLOSED = 8  # percentile of the opening below which lips are closed
_LEAST_JAW = np.deg2rad(3.0)


def speak(
    samples: np.ndarray, subject: DrivenSubject, track: Track, options: SpeechOptions
) -> Motion:
    """Motion of the voice `personal`, or of `phones` without a learned voice.

    Args:
        samples: (n,) float32 mono at 16 kHz.
        subject: the driven subject.
        track: its track.
        options: `files` may name "voice", the learned `voice.npz`, and "transcript", the spoken
            text; `motion.head_motion` "still" keeps the head still, and `motion.blinks` adds blinks
            where the clip is too short to play from.

    Raises:
        UserError: a file cannot be read, or does not belong to the subject's head.
    """
    own = voice_or_none(options.files.get("voice"), subject.head)
    transcript = options.files.get("transcript")
    return speech_motion(
        samples, subject, track, own, transcript, options.motion.head_motion, options.motion.blinks
    )


def speech_motion(
    samples: np.ndarray,
    subject: DrivenSubject,
    track: Track,
    voice: Voice | None,
    transcript: Path | None = None,
    head_motion: str = ABSOLUTE,
    with_blinks: bool = True,
) -> Motion:
    """Motion at the track's frame rate, as long as the sound.

    Args:
        samples: (n,) float32 mono at 16 kHz, n > 0.
        subject: the driven subject.
        track: its track.
        voice: the learned voice; None for the rules of phones.
        transcript: file with the spoken text, or None.
        head_motion: "still" keeps the head still.
        with_blinks: add blinks where the clip is too short to play from.

    Raises:
        UserError: the transcript cannot be read, or the head model lacks landmarks of the lips.
    """
    speech = Speech(np.asarray(samples, np.float32))
    times = np.arange(speech.frames(track.fps)) / track.fps
    if speech.silent:
        log.warning("the sound is silent: the lips stay closed")
    phones = None if speech.silent else find_phones(speech.samples, transcript)
    mels = log_mels(speech.samples)
    if phones is None and voice is None:
        if not speech.silent:
            log.warning("without PocketSphinx and a voice, the mouth only opens with loudness")
        phones = as_one_vowel(spoken(mels))
    levels = Normalization.of(mels)
    habits = Habits.of(subject.head, track)
    closed, rest = (habits.closed,) * 2 if voice is None else (voice.closed, voice.rest)
    mouth = _mouth(voice, phones, mels, levels, times, subject.head, habits, closed)
    mouth = rest_in_pauses(mouth, mels, times, rest)
    if phones is not None:
        mouth = close_lips(mouth, times, phones.labials(), closed)
    texture = upper_face(samples, mels, times, subject, track, voice, with_blinks)
    columns = MouthColumns.of(subject.head)
    condition = with_mouth(texture.condition, mouth, columns, subject.head, track)
    poses = played_poses(texture, subject, head_motion)
    return Motion(torch.from_numpy(times), condition, *poses)


@dataclass(frozen=True, eq=False)
class Habits:
    """How a subject moves the mouth, from its track.

    Attributes:
        closed: (K,) closed lips.
        widest: radians by which the jaw opens at open vowels.
    """

    closed: np.ndarray
    widest: float

    @classmethod
    def of(cls, head: HeadModel, track: Track) -> "Habits":
        """From the frames with a face."""
        seen = track[np.flatnonzero(~track.interpolated)] if not track.interpolated.all() else track
        condition = seen.codes().vector
        values = MouthColumns.of(head).values(condition)
        shapes = Lips(head, track.identity()).shapes(condition)
        closed = shapes.opening <= np.percentile(shapes.opening, _CLOSED)
        middle = np.median(values[closed], 0)
        widest = np.percentile(shapes.jaw, _WIDEST) - middle[-JAW]
        return cls(middle, float(max(widest, _LEAST_JAW)))


def _mouth(
    voice: Voice | None,
    phones: Phones | None,
    mels: np.ndarray,
    levels: Normalization,
    times: np.ndarray,
    head: HeadModel,
    habits: Habits,
    closed: np.ndarray,
) -> np.ndarray:
    """(n, K) mouth values by the voice, by rules, or a blend of both for foreign sounds."""
    made, trust = np.tile(closed, (len(times), 1)).astype(np.float64), 1.0
    if voice is not None:
        made, near = voice.mouth(mels, times, levels)
        trust = voice.trust(near[at(spoken(mels), times)])
    if phones is None or (voice is not None and trust == 1):
        return made
    if voice is not None:
        log.info("the sound differs from the subject's voice: %.0f %% by the rules of phones",
                 100 * (1 - trust))  # fmt: skip
    level = at(loudness(levels.apply(mels)), times)
    share = (0.5 + level / 2).clip(0, 1)
    ruled = viseme_values(phones, times, share, head, closed, habits.widest)
    return ruled if voice is None else trust * made + (1 - trust) * ruled
