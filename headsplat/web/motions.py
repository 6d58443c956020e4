"""The motions that a web page plays: the clip's own track, and driven ones, with their sound."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor

from headsplat.avatar import Avatar
from headsplat.drive.draw import DrivenFrames
from headsplat.drive.motion import Motion
from headsplat.drive.run import motion_frames, read_motion
from headsplat.drive.subject import DrivenSubject
from headsplat.export.frames import MotionFile
from headsplat.frame_code import FrameCode
from headsplat.rotations import matrix_from_6d, quaternion_from_matrix
from headsplat.runtime.logs import log
from headsplat.track import Track
from headsplat.video.encode import SoundTrack
from headsplat.video.sound import read_sound

TRACK = "The clip"
_STEPS = 32767  # of a number of a unit quaternion
_BITS = 48_000  # a second of mono sound
_RATE = 48_000  # Hz


@dataclass(frozen=True)
class PlayedMotion:
    """A motion of the page.

    Attributes:
        name: for the page.
        motion: its file.
        sound: file with sound that starts with it, or None.
    """

    name: str
    motion: MotionFile
    sound: Path | None = None


def motion_arrays(
    avatar: Avatar,
    track: Track,
    sound: Path | None,
    motions: Sequence[PlayedMotion],
    seconds: float,
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Entries of `motions` in the payload's JSON, and their arrays; the first is the track.

    Args:
        avatar: who plays them.
        track: of the avatar's clip.
        sound: the clip's video or audio file, or None.
        motions: those to play besides.
        seconds: longest part of each, from its start.

    Raises:
        UserError: a file cannot be read, or is not for this avatar.
    """
    name = f"the track of {TRACK.lower()}"
    limit = avatar.deformation.code_limit
    subject = DrivenSubject.from_track(name, avatar.head, avatar.shape, track, limit)
    entries, arrays = [], {}
    played = [(TRACK, _of_track(track), sound)]
    played += [(item.name, _driven(avatar, subject, item.motion), item.sound) for item in motions]
    for number, (name, frames, file) in enumerate(played):
        count = min(len(frames.condition), max(1, int(seconds * track.fps)))
        parts = _parts(frames, count)
        encoded = None if file is None else m4a(file, count / track.fps)
        if encoded is not None:
            parts["sound"] = np.frombuffer(encoded, np.uint8)
        entries.append(
            {"name": name, "count": count, "fps": track.fps, "sound": encoded is not None}
        )
        arrays |= {f"motions/{number}/{part}": values for part, values in parts.items()}
        heard = "without sound" if encoded is None else "with sound"
        log.info("motion '%s': %.1f s %s", name, count / track.fps, heard)
    return entries, arrays


def _of_track(track: Track) -> DrivenFrames:
    """The frames of a track at even times."""
    order = np.argsort(track.ids)
    times = torch.from_numpy((track.ids[order] - track.ids.min()) / track.fps)
    poses = (value[order] for value in track.poses(torch.float64))
    trunk = track.trunk()
    trunk = None if trunk is None else trunk[order].double()
    motion = Motion(times, track.codes(torch.float64).vector[order], *poses, trunk)
    motion = motion.resample(track.fps)
    return DrivenFrames(motion.condition, motion.rotation, motion.translation, motion.trunk)


def _driven(avatar: Avatar, subject: DrivenSubject, file: MotionFile) -> DrivenFrames:
    """The frames that a driven video of this motion shows."""
    motion = read_motion(file.path, file.kind, subject, file.options)
    return motion_frames(avatar, subject, motion.resample(subject.track.fps))


def _parts(frames: DrivenFrames, count: int) -> dict[str, np.ndarray]:
    """Arrays of the first frames of a motion."""
    code = FrameCode(frames.condition[:count].double())
    parts = {
        "exp": code.exp.numpy().astype(np.float16),
        "lids": code.eyelids.numpy().astype(np.float16),
        "joints": _steps(matrix_from_6d(code.joints)),
        "rotation": _steps(frames.rotation[:count]),
        "translation": frames.translation[:count].numpy().astype(np.float32),
    }
    if frames.trunk is not None:
        trunk = frames.trunk[:count].double()
        rows = torch.cat([quaternion_from_matrix(trunk[..., :3]), trunk[..., 3]], 1)
        parts["trunk"] = rows.numpy().astype(np.float32)
    return parts


def _steps(rotations: Tensor) -> np.ndarray:
    """(..., 3, 3) -> (..., 4) quaternions in whole steps."""
    return (quaternion_from_matrix(rotations.double()) * _STEPS).round().numpy().astype(np.int16)


def m4a(path: Path, seconds: float) -> bytes | None:
    """The sound of a file as AAC in m4a, mono, or None if it has none.

    Args:
        path: video or audio file.
        seconds: how much of it, from its first image on; a shorter sound ends in silence.

    Raises:
        UserError: the file is missing or cannot be opened.
    """
    sound = read_sound(path, seconds, _RATE)
    if sound is None:
        return None
    content = BytesIO()
    with av.open(content, "w", format="ipod", options={"fflags": "+bitexact"}) as file:
        encoder = SoundTrack(*sound)
        encoder.open(file)
        file.streams.audio[0].bit_rate = _BITS
        encoder.finish(Fraction(seconds).limit_denominator(1_000_000))
    return content.getvalue()
