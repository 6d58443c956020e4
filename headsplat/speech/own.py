"""The voices `personal` and `phones`: a motion from speech in the subject's own manner."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headsplat.drive.kinds import ABSOLUTE, STILL
from headsplat.drive.motion import Motion
from headsplat.drive.subject import DrivenSubject
from headsplat.heads.model import HeadModel
from headsplat.runtime.logs import log
from headsplat.speech.audio import RATE, Speech
from headsplat.speech.closures import close_lips
from headsplat.speech.features import HOP, Normalization, log_mels, loudness, spoken
from headsplat.speech.idle import idle_motion, seed_of
from headsplat.speech.lips import Lips
from headsplat.speech.mouth import JAW, MouthColumns, with_mouth
from headsplat.speech.pauses import rest_in_pauses
from headsplat.speech.personal import Voice, voice_or_none
from headsplat.speech.phones import Phones, as_one_vowel, find_phones
from headsplat.speech.texture import Texture, play_clip
from headsplat.speech.visemes import viseme_values
from headsplat.track import Track

_WIDEST = 97  # percentile of the clip's jaw angle that open vowels reach
_CLOSED = 8  # percentile of the opening below which lips are closed
_LEAST_JAW = np.deg2rad(3.0)


def speak(samples: np.ndarray, subject: DrivenSubject, track: Track, options: Any) -> Motion:
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
    """Motion at the track's frame rate, as long as the sound; see `speak`."""
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
    poses = texture.rotation, texture.translation
    if head_motion == STILL:
        poses = subject.limits.poses_from_track(*poses, STILL)
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


def upper_face(
    samples: np.ndarray,
    mels: np.ndarray,
    times: np.ndarray,
    subject: DrivenSubject,
    track: Track,
    voice: Voice | None,
    with_blinks: bool,
) -> Texture:
    """Head, brows, gaze and lids from the subject's clip, or synthetic where it is too short."""
    level = at(loudness(mels), times)
    loud = (level - level.mean()) / (level.std() + 0.1)
    known = voice is not None and np.isin(track.ids, voice.ids).any()
    texture = play_clip(
        track, len(times),
        *((at(spoken(mels), times), loud, *_heard(track, voice)) if known else (None,) * 4),
    )  # fmt: skip
    if texture is None:
        log.info("the clip is too short to play from: head, gaze and lids are synthetic")
        return idle_motion(subject, times, loud, seed_of(samples), with_blinks)
    return texture


def _heard(track: Track, voice: Voice) -> tuple[np.ndarray, np.ndarray]:
    """Speech (N,) and loudness (N,) of a track's frames; silent where the voice lacks a frame."""
    order = np.argsort(voice.ids, kind="stable")
    place = order[np.searchsorted(voice.ids, track.ids, sorter=order).clip(max=len(order) - 1)]
    there = voice.ids[place] == track.ids
    loud = (voice.loudness[place] - voice.loudness.mean()) / (voice.loudness.std() + 0.1)
    return there & voice.speech[place], np.where(there, loud, loud.min())


def at(rows: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Values (m,) of rows every 10 ms at some times."""
    return rows[(times * RATE / HOP).round().astype(np.int64).clip(0, len(rows) - 1)]
