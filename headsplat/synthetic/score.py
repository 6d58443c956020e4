"""Other scores of the built-in subject, as sound and codes: no images are rendered.

`other_words` tests a voice that was learned from the built-in clip: other words, with their ground
truth. `write_hello` is a sentence that the clip does not hold, for a spoken video.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from headsplat.frame_code import FrameCode
from headsplat.heads.model import HeadModel
from headsplat.rotations import matrix_from_axis_angle, matrix_to_6d
from headsplat.runtime.files import publish
from headsplat.synthetic.parameters import animate
from headsplat.synthetic.performance import perform
from headsplat.synthetic.phones import HELLO, TEST_PHRASES
from headsplat.synthetic.speech import PHRASE_SECONDS, Speech, compose_speech
from headsplat.synthetic.voice import SAMPLE_RATE, synthesize

FPS = 25.0
_SOUND_SEED, _MOTION_SEED = 6, 12  # other noise, gaze and turns than the clip's


@dataclass(frozen=True, eq=False)
class Score:
    """A spoken text with its ground truth.

    Attributes:
        speech: phones and their times.
        samples: (n,) float32 in -1..1 at `SAMPLE_RATE`.
        condition: (N, C) float32 frame codes at 25 frames a second.
    """

    speech: Speech
    samples: np.ndarray
    condition: Tensor


def other_words(head: HeadModel, seconds: float = 12.0) -> Score:
    """Words that the built-in clip does not hold, from the same phones.

    Args:
        head: the procedural head, or another with ARKit names.
        seconds: length.
    """
    speech = compose_speech(seconds, TEST_PHRASES)
    # The pose is not part of the codes, so any pivot and camera will do.
    made = animate(perform(speech, FPS, _MOTION_SEED), head, np.zeros(3), np.zeros(3))
    jaw, eyes = (
        matrix_to_6d(matrix_from_axis_angle(torch.from_numpy(angles).unflatten(1, (-1, 3))))
        for angles in (made.jaw, made.eyes)
    )
    exp, lids = torch.from_numpy(made.exp), torch.from_numpy(made.eyelids)
    condition = FrameCode.pack(exp, jaw.flatten(1), eyes.flatten(1), lids).vector
    return Score(speech, synthesize(speech, _SOUND_SEED), condition)


def hello() -> Speech:
    """The sentence "Hello, it is so nice to meet Emma", once: 2.4 s with the silence after it."""
    return compose_speech(PHRASE_SECONDS + 0.4, (HELLO,))


def write_hello(out: Path) -> None:
    """Write `hello` in the built-in voice as a wav file; atomically."""
    write_wav(out, synthesize(hello(), _SOUND_SEED), SAMPLE_RATE)


def write_wav(out: Path, samples: np.ndarray, rate: int) -> None:
    """Write mono sound, (n,) in -1..1, as 16-bit wav; atomically."""
    whole = (samples.clip(-1, 1) * 32767).round().astype(np.int16)
    with publish(out) as temporary, av.open(str(temporary), "w", format="wav") as file:
        stream = file.add_stream("pcm_s16le", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(whole[None], "s16", "mono")
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
