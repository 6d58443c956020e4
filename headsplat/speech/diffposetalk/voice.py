"""The voice `diffposetalk`: speech to FLAME codes with DiffPoseTalk's networks."""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from headsplat.drive.diffposetalk import FPS, motion_from_codes, require_flame_2020
from headsplat.drive.motion import Motion
from headsplat.drive.subject import DrivenSubject
from headsplat.options import check_ranges, option
from headsplat.runtime.device import choose_device
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import write_npz
from headsplat.runtime.logs import log
from headsplat.speech.diffposetalk.model import DiffPoseTalk, load_model
from headsplat.speech.diffposetalk.sampler import Sampling, SeededNoise, Take, sample
from headsplat.speech.diffposetalk.settings import SHAPE
from headsplat.speech.diffposetalk.stats import Stats, read_stats, stats_of
from headsplat.speech.diffposetalk.style import load_style_encoder, read_style, style_of
from headsplat.speech.voices import SpeechOptions
from headsplat.track import Track

_MODEL, _STATS, _STYLE = "diffposetalk", "diffposetalk_stats", "diffposetalk_style"
_SHORT = 25  # steps without a GPU
_FORM = "https://github.com/DiffPoseTalk/DiffPoseTalk"


@dataclass(frozen=True)
class Options:
    """Options of the voice `diffposetalk`."""

    steps: int = option(
        0, "DiffPoseTalk's diffusion steps; 0: 500 on a GPU, 25 without", low=0, high=500
    )
    audio_scale: float = option(
        1.15, "DiffPoseTalk: strength of the sound's guidance", low=0, high=10
    )
    style_scale: float = option(
        3.0, "DiffPoseTalk: strength of the style's guidance", low=0, high=10
    )
    threshold: float = option(
        0.0, "DiffPoseTalk: quantile of dynamic thresholding, such as 0.99; 0: none", low=0, high=1
    )
    precision: str = option(
        "fp16", "DiffPoseTalk: numbers of the network on a GPU", choices=("fp16", "tf32")
    )
    stats: str = option(
        "file",
        "DiffPoseTalk: its codes are normalized by the official file or by the subject's own track",
        choices=("file", "subject"),
    )


@dataclass(frozen=True)
class Codes:
    """DiffPoseTalk's result: exp (L, 50), pose (L, 6), shape (L, 100), float32, at 25 fps."""

    exp: np.ndarray
    pose: np.ndarray
    shape: np.ndarray

    def write(self, path: Path) -> None:
        """Write them as `demo.py --save_coef` does."""
        write_npz(path, exp=self.exp, pose=self.pose, shape=self.shape)


@dataclass(frozen=True)
class Speaker:
    """A subject as DiffPoseTalk sees it.

    Attributes:
        shape: (S,) identity, S >= 100.
        stats: that normalize its codes.
        style: (d_style,), or None.
    """

    shape: np.ndarray
    stats: Stats
    style: np.ndarray | None


def speak(
    samples: np.ndarray, subject: DrivenSubject, track: Track, options: SpeechOptions
) -> Motion:
    """Speech as a motion at 25 fps; see `headsplat.speech.voices.Voice`.

    The file `diffposetalk_style` is a style encoder, which is applied to the subject's track, or a
    style (`.npy`). Without one the model speaks in no particular style.

    Raises:
        UserError: the head is not FLAME 2020, a file is missing or not the official one, or the
            sound is shorter than a frame.
    """
    require_flame_2020("", subject.head)
    own = Options(**options.own)
    check_ranges(own)
    device = choose_device(options.device)
    model = load_model(options.files[_MODEL], device)
    speaker = speaker_of(subject, track, model, options)
    seed = zlib.crc32(np.ascontiguousarray(samples, np.float32).tobytes()) + options.seed
    (codes,) = speak_all(model, [(samples, speaker, seed)], own)
    if options.codes is not None:
        codes.write(options.codes)
    exp, pose = (torch.from_numpy(part).double() for part in (codes.exp, codes.pose))
    return motion_from_codes(exp, pose, subject, options.motion)


def speaker_of(
    subject: DrivenSubject, track: Track, model: DiffPoseTalk, options: SpeechOptions
) -> Speaker:
    """A subject's shape, statistics and style from the files of the options.

    Raises:
        UserError: a file is missing or not the official one.
    """
    own, width = Options(**options.own), model.settings.d_style
    shape = subject.shape.detach().cpu().numpy().astype(np.float32)
    if len(shape) < SHAPE:
        raise UserError(f"the avatar has {len(shape)} shape codes, DiffPoseTalk needs {SHAPE}")
    if own.stats == "subject":
        log.info("DiffPoseTalk: codes are normalized by the subject's own track")
        stats = stats_of(track, shape, model.settings.fps)
    elif _STATS in options.files:
        log.info("DiffPoseTalk: codes are normalized by %s", options.files[_STATS])
        stats = read_stats(options.files[_STATS])
    else:
        raise UserError(
            "DiffPoseTalk's stats_train.npz is not there; ask for it with the data set's request "
            f"form ({_FORM}), or set stats to 'subject'"
        )
    style, path = None, options.files.get(_STYLE)
    if path is None or not width:
        log.info("DiffPoseTalk: no style is given")
    elif path.suffix == ".npy":
        style = read_style(path, width)
    else:
        encoder = load_style_encoder(path)
        theirs, ours = encoder.settings, model.settings
        if (theirs.feature_dim, theirs.no_head_pose) != (width, ours.no_head_pose):
            raise UserError(
                f"{path}: is the style encoder of another model ({theirs.motion_dim} numbers a "
                f"frame to {theirs.feature_dim}, not {ours.motion_dim} to {width}); give the one "
                "that belongs to the model"
            )
        style = style_of(track, encoder, stats)
    return Speaker(shape, stats, style)


def speak_all(
    model: DiffPoseTalk, takes: list[tuple[np.ndarray, Speaker, int]], own: Options
) -> list[Codes]:
    """Make several takes side by side: repetitions, sounds, and subjects of one model.

    Args:
        model: the model, on the device that computes.
        takes: samples (n,) float32 mono at 16 kHz, speaker, seed of the random numbers.
        own: steps and guidance.

    Raises:
        UserError: a sound is shorter than a frame, or the model's rate is not 25 fps.
    """
    if model.settings.fps != FPS:
        raise UserError(f"the DiffPoseTalk model makes {model.settings.fps} fps, not {FPS}")
    device = model.start_audio_feat.device
    gpu = device.type == "cuda"
    trained = model.settings.n_diff_steps
    steps = own.steps or (trained if gpu else _SHORT)
    half = gpu and own.precision == "fp16"
    log.info(
        "DiffPoseTalk: %d of %d diffusion steps (%s), %d takes on %s",
        min(steps, trained), trained, "DDIM" if steps < trained else "DDPM", len(takes), device,
    )  # fmt: skip
    heard: dict[int, tuple[torch.Tensor, int]] = {}
    rows = []
    for samples, speaker, seed in takes:
        if id(samples) not in heard:
            heard[id(samples)] = model.listen(torch.from_numpy(samples).to(device))
        features, frames = heard[id(samples)]
        style = None if speaker.style is None else torch.from_numpy(speaker.style)
        shape = torch.from_numpy(speaker.stats.normalized_shape(speaker.shape))
        rows.append(Take(features, frames, shape, style, SeededNoise(seed, device)))
    kind = torch.float16 if half else torch.float32
    sampling = Sampling(steps, own.audio_scale, own.style_scale, own.threshold, kind)
    made = sample(model, rows, sampling)
    if not all(torch.isfinite(one).all() for one in made):
        raise UserError(
            "DiffPoseTalk's motion is not finite; set precision to tf32, or give the original files"
        )
    return [
        _codes(one.cpu().numpy(), speaker) for one, (_, speaker, _) in zip(made, takes, strict=True)
    ]


def _codes(motion: np.ndarray, speaker: Speaker) -> Codes:
    exp, pose = speaker.stats.codes(motion)
    shape = np.tile(speaker.shape[:SHAPE], (len(exp), 1))
    return Codes(*(np.asarray(part, np.float32) for part in (exp, pose, shape)))
