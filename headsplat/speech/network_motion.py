"""What the networks leave out: head, gaze and lids from the subject's own clip."""

from dataclasses import replace

import numpy as np

from headsplat.drive.kinds import STILL
from headsplat.drive.motion import Motion
from headsplat.drive.subject import DrivenSubject
from headsplat.frame_code import FrameCode
from headsplat.speech.features import log_mels
from headsplat.speech.own import upper_face
from headsplat.speech.voices import SpeechOptions
from headsplat.track import Track


def with_clip_motion(
    motion: Motion,
    samples: np.ndarray,
    subject: DrivenSubject,
    track: Track,
    options: SpeechOptions,
    head: bool = True,
) -> Motion:
    """A network's lips, jaw and brows with gaze and lids as in the subject's clip.

    Args:
        motion: of the network.
        samples: (n,) float32 mono at 16 kHz, the sound that was spoken.
        subject: the driven subject.
        track: of its clip.
        options: of the motion; `blinks` and `head_motion`.
        head: the network moves no head either, so it moves as in the clip.

    Returns:
        The motion at the track's frame rate.
    """
    made = motion.resample(track.fps)
    texture = upper_face(
        samples, log_mels(samples), made.times.numpy(), subject, track, None, options.motion.blinks
    )
    own = FrameCode(texture.condition)
    code = FrameCode(made.condition).replace(eyes=own.eyes, eyelids=own.eyelids)
    made = replace(made, condition=code.vector)
    if not head:
        return made
    poses = texture.rotation, texture.translation
    if options.motion.head_motion == STILL:
        poses = subject.limits.poses_from_track(*poses, STILL)
    return replace(made, rotation=poses[0], translation=poses[1])
