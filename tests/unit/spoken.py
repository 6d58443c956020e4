"""The built-in subject speaking: head, perfect track and sound, without rendered images."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from headsplat.heads.model import HeadModel
from headsplat.rotations import matrix_from_axis_angle, matrix_to_6d
from headsplat.synthetic.head.head import procedural_head
from headsplat.synthetic.parameters import animate
from headsplat.synthetic.performance import perform
from headsplat.synthetic.score import write_wav
from headsplat.synthetic.speech import compose_speech
from headsplat.synthetic.voice import SAMPLE_RATE, synthesize
from headsplat.track import Track, head_moves, write_track

FPS = 25.0
CAMERA_T = np.array([0.0, 0.0, 0.8])


@dataclass(frozen=True)
class Spoken:
    """One clip.

    Attributes:
        head: the procedural head.
        track: its perfect track.
        samples: (n,) at `SAMPLE_RATE`.
    """

    head: HeadModel
    track: Track
    samples: np.ndarray

    def files(self, folder: Path) -> tuple[Path, Path, Path]:
        """Track, sound and head as files."""
        track, sound, head = folder / "track.npz", folder / "clip.wav", folder / "head.npz"
        write_track(track, self.track)
        write_wav(sound, self.samples, SAMPLE_RATE)
        self.head.save(head)
        return track, sound, head


@cache
def spoken_clip(seconds: float = 24.0) -> Spoken:
    """The built-in clip's score; phrases repeat."""
    head, speech = procedural_head(), compose_speech(seconds)
    made = animate(perform(speech, FPS), head, np.zeros(3), CAMERA_T)
    count = len(made.exp)
    jaw, eyes = (
        matrix_to_6d(matrix_from_axis_angle(torch.from_numpy(a).unflatten(1, (-1, 3)))).flatten(1)
        for a in (made.jaw, made.eyes)
    )
    head_R, head_t, camera_R, camera_t = head_moves(made.R, made.t)
    none = np.zeros(count, np.float32)
    track = Track(
        ids=np.arange(1, count + 1), status=np.full(count, "ok"), confidence=none + 1,
        interpolated=np.zeros(count, bool), shape=made.shape, exp=made.exp, jaw=jaw.numpy(),
        eyes=eyes.numpy(), eyelids=made.eyelids, R=made.R, t=made.t,
        K=np.array([[1000.0, 0, 256], [0, 1000, 256], [0, 0, 1]]), img_size=np.array([512, 512]),
        head_R=head_R, head_t=head_t, camera_R=camera_R, camera_t=camera_t, residual_px=none,
        residual_iod=none, residual_group=none[:, None], group_names=np.array(["all"]),
        head_name=head.name, head_version=head.version, head_licence=head.licence, fps=FPS,
    )  # fmt: skip
    return Spoken(head, track, synthesize(speech))
