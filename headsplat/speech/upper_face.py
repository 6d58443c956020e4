"""Head, gaze and lids of a face that speaks, and brows where the voice makes none.

They are played from the subject's own clip, or synthetic where the clip is too short.
"""

from dataclasses import replace

import numpy as np
import torch

from headsplat.drive.kinds import STILL, MotionOptions
from headsplat.drive.motion import Motion
from headsplat.drive.subject import DrivenSubject
from headsplat.frame_code import FrameCode
from headsplat.runtime.logs import log
from headsplat.speech.features import at, log_mels, loudness, spoken
from headsplat.speech.idle import idle_motion, seed_of
from headsplat.speech.personal import Voice
from headsplat.speech.texture import Texture, play_clip
from headsplat.track import Track


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


def on_own_face(
    motion: Motion,
    samples: np.ndarray,
    subject: DrivenSubject,
    track: Track,
    options: MotionOptions,
) -> Motion:
    """A network's expressions and jaw with the subject's own head turns, gaze and lids.

    Args:
        motion: of the network, whose head, eyes and lids are replaced.
        samples: (n,) float32 mono at 16 kHz, the sound.
        subject: the driven subject.
        track: its track, which gives the frame rate.
        options: head motion "still", and blinks where the clip is too short to play from.

    Returns:
        A motion at the track's frame rate.
    """
    motion = motion.resample(track.fps)
    mels, times = log_mels(samples), motion.times.numpy()
    face = upper_face(samples, mels, times, subject, track, None, options.blinks)
    own = FrameCode(face.condition)
    condition = FrameCode(motion.condition).replace(eyes=own.eyes, eyelids=own.eyelids).vector
    rotation, translation = played_poses(face, subject, options.head_motion)
    return replace(motion, condition=condition, rotation=rotation, translation=translation)


def played_poses(
    face: Texture, subject: DrivenSubject, head_motion: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Head poses (n, 3, 3) and (n, 3) of a face; the subject's mean pose for "still"."""
    poses = face.rotation, face.translation
    return subject.limits.poses_from_track(*poses, STILL) if head_motion == STILL else poses
