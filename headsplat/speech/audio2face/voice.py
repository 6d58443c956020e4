"""The voice `audio2face`: NVIDIA's Audio2Face-3D 2.3 as ARKit coefficients at 30 fps."""

from dataclasses import dataclass

import numpy as np

from headsplat.drive.arkit_motion import motion_from_table, require_arkit_head
from headsplat.drive.motion import Motion
from headsplat.drive.subject import DrivenSubject
from headsplat.formats.arkit.live_link import LiveLinkTable
from headsplat.formats.arkit.names import BLENDSHAPES
from headsplat.networks.onnx_session import (
    batch_limit,
    check_signature,
    open_session,
    run_session,
)
from headsplat.options import check_ranges, option
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.progress import progress
from headsplat.speech.audio2face.folder import Actor, read_actor
from headsplat.speech.audio2face.solve import FPS, Solver
from headsplat.speech.upper_face import on_own_face
from headsplat.speech.voices import RATE, SpeechOptions
from headsplat.track import Track

_BATCH = 64
NEUTRAL = "neutral"


@dataclass(frozen=True)
class Options:
    """Options of the voice `audio2face`."""

    emotion: str = option("neutral", "Audio2Face-3D: neutral, or one of the actor's, such as joy")
    emotion_strength: float = option(1.0, "Audio2Face-3D: strength of the emotion", low=0, high=1)


def speak(
    samples: np.ndarray, subject: DrivenSubject, track: Track, options: SpeechOptions
) -> Motion:
    """Speech as a motion at the track's frame rate; see `headsplat.speech.voices.Voice`.

    Expressions and jaw are the network's, relative to the subject's neutral face. Head turns, gaze
    and lids are those of the subject's clip.

    Raises:
        UserError: the head has no shapes with ARKit's names, or the folder is not an actor's.
    """
    require_arkit_head("", subject.head)
    own = Options(**options.own)
    check_ranges(own)
    actor = read_actor(options.files["audio2face"])
    skin = skin_coefficients(actor, samples, own, None if options.device == "cpu" else 0)
    table = as_table(actor.poses.names, Solver(actor).weights(skin))
    motion = motion_from_table(
        "Audio2Face-3D", table, subject, options.motion, zero_is_neutral=True
    )
    return on_own_face(motion, samples, subject, track, options.motion)


def skin_coefficients(
    actor: Actor, samples: np.ndarray, own: Options, gpu: int | None
) -> np.ndarray:
    """(N, skin) coefficients at 30 fps of samples (n,) at 16 kHz.

    Raises:
        UserError: an unknown emotion, a network with other names or shapes, or no samples.
    """
    net, path = actor.network, actor.path / "network.onnx"
    emotion = _emotion(actor, own)
    session = open_session(path, gpu)
    kind = check_signature(
        session, path,
        {"input": (None, 1, net.buffer), "emotion": (None, 1, len(emotion))},
        {"result": (None, 1, net.result)},
    )  # fmt: skip
    if len(samples) == 0:
        raise UserError("the sound has no samples; give speech")
    count = -(-len(samples) * FPS // RATE)
    starts = np.round(np.arange(count) * (RATE / FPS)).astype(int)
    padded = np.zeros(net.offset + starts[-1] + net.buffer, np.float32)
    heard = samples[: len(padded) - net.offset]
    padded[net.offset : net.offset + len(heard)] = heard
    padded *= actor.parameters["input_strength"]
    windows = np.lib.stride_tricks.sliding_window_view(padded, net.buffer)
    batch = int(max(1, min(_BATCH, batch_limit(session))))
    parts = []
    for first in progress(range(0, count, batch), -(-count // batch), "Audio2Face"):
        chosen = windows[starts[first : first + batch], None].astype(kind)
        mood = np.repeat(emotion[None, None].astype(kind), len(chosen), 0)
        (result,) = run_session(session, path, ["result"], {"input": chosen, "emotion": mood})
        if result.shape != (len(chosen), 1, net.result):
            raise UserError(
                f"{path}: its result has shape {list(result.shape)[:4]}, expected "
                f"{[len(chosen), 1, net.result]}; give the original file"
            )
        parts.append(result[:, 0, : net.skin].astype(np.float32))
    found = np.concatenate(parts)
    if not np.isfinite(found).all():
        raise UserError(f"{path}: its result is not finite; give the original file")
    return found


def _emotion(actor: Actor, own: Options) -> np.ndarray:
    emotion = actor.network.emotion.copy()
    if own.emotion != NEUTRAL:
        names = actor.network.emotions
        if own.emotion not in names:
            raise UserError(
                f"emotion '{shown(own.emotion, 40)}': the actor has neutral, {', '.join(names)}"
            )
        emotion[names.index(own.emotion) - len(names)] = own.emotion_strength
    return emotion


def as_table(names: tuple[str, ...], weights: np.ndarray) -> LiveLinkTable:
    """Weights (N, P) of poses as ARKit's 52 coefficients.

    The actor's `mouthClose` closes an open jaw: it contains `jawOpen`. Here `MouthClose` is a
    correction of the lips over an open jaw, so the jaw opens by the sum of both.
    """
    zero = np.zeros(len(weights))
    values = {name: zero for name in BLENDSHAPES}
    values |= dict(zip(names, weights.T, strict=True))
    values["JawOpen"] = values["JawOpen"] + values["MouthClose"]
    values = {name: column.clip(0, 1) for name, column in values.items()}
    return LiveLinkTable(np.arange(len(weights)) / FPS, values)
