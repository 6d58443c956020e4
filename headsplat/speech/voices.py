"""Registry of voices, which turn speech into a motion. A new voice is one module and one line here.

Importing this module imports no voice, so that planning needs no torch. A voice that takes options
of its own has a dataclass `Options` in the module of its target (`headsplat.options`).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headsplat.drive.kinds import AUTO, MotionOptions
from headsplat.options import read_options, schema_of
from headsplat.registry import Plugin, Registry
from headsplat.runtime.errors import UserError

RATE = 16_000  # Hz, of the samples that a voice takes
PERSONAL, PHONES = "personal", "phones"


@dataclass(frozen=True)
class SpeechOptions:
    """What a voice is told beside the sound and the subject.

    Attributes:
        files: asset name -> file or folder, for the assets that the voice names.
        motion: head motion and blinks, as for a motion from a file.
        seed: of random numbers; equal sound, files, options and seed give an equal motion.
        device: `auto`, `cpu` or `cuda`.
        codes: where the voice also writes its codes in its own format; None for nowhere.
        own: values for the voice's own `Options`, by name.
    """

    files: Mapping[str, Path] = field(default_factory=dict)
    motion: MotionOptions = MotionOptions()
    seed: int = 0
    device: str = "auto"
    codes: Path | None = None
    own: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Voice(Plugin):
    """A voice; the target is a function (samples, subject, track, options) -> `Motion`.

    `samples` are (n,) float32 mono at `RATE`, `subject` the `DrivenSubject`, `track` its `Track`,
    and `options` the `SpeechOptions`.

    Attributes:
        heads: names of the head models that it serves; None for any.
        assets: names of the assets that it needs.
        optional: names of assets that it uses if they are there.
        suffixes: suffixes of its main file; empty for a folder or for no file.
    """

    heads: tuple[str, ...] | None = None
    assets: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    suffixes: tuple[str, ...] = ()

    def serves(self, head: str) -> bool:
        """Whether it can drive avatars on a head model."""
        return self.heads is None or head in self.heads


VOICES: Registry[Voice] = Registry(
    "voice",
    {
        PERSONAL: Voice(
            "headsplat.speech.own:speak",
            "regression from sound to the subject's own codes, learned from its clip",
        ),
        PHONES: Voice("headsplat.speech.own:speak", "rules of phones, found by PocketSphinx"),
        "diffposetalk": Voice(
            "headsplat.speech.diffposetalk.voice:speak",
            "DiffPoseTalk's networks, for FLAME 2020",
            ("flame",),
            ("diffposetalk",),
            ("diffposetalk_stats", "diffposetalk_style"),
            (".pt",),
        ),
        "audio2face": Voice(
            "headsplat.speech.audio2face.voice:speak",
            "NVIDIA's Audio2Face-3D 2.3, as ARKit coefficients",
            ("ict", "procedural"),
            ("audio2face",),
        ),
        "lam": Voice(
            "headsplat.speech.lam:speak",
            "LAM-A2E, as ARKit coefficients",
            ("ict", "procedural"),
            ("lam",),
            suffixes=(".tar", ".pth", ".pt"),
        ),
    },
)


def chosen_voice(name: str, head: str, found: Collection[str]) -> str:
    """The voice that a name stands for.

    Args:
        name: of `VOICES`, or `AUTO`: the first that serves the head and needs assets that are all
            there, else `PERSONAL`.
        head: name of the subject's head model.
        found: names of the assets that are there.

    Raises:
        UserError: there is no such voice, or it does not serve the head.
    """
    if name == AUTO:
        fitting = (
            key
            for key, voice in VOICES.items()
            if voice.assets and voice.serves(head) and set(voice.assets) <= set(found)
        )
        return next(fitting, PERSONAL)
    voice = VOICES[name]
    if not voice.serves(head):
        raise UserError(
            f"voice '{name}': serves the head {' or '.join(voice.heads or ())}, this subject's is "
            f"{head}; use auto"
        )
    return name


def why_chosen(asked: str, name: str) -> str:
    """Why a motion gets a voice, for the log.

    Args:
        asked: what the user asked for: `AUTO`, a voice, or a subject's name.
        name: the voice that it stands for, see `chosen_voice`.
    """
    if asked != AUTO:
        return f"asked for: {asked}"
    if VOICES[name].assets:
        return "auto: the first network that serves this head and whose files are there"
    return "auto: no network that serves this head has its files in assets/"


def own_options(name: str) -> dict[str, dict[str, Any]]:
    """Option name -> JSON schema, of the options that one voice has."""
    return schema_of(read_options(VOICES[name].module))


def all_options() -> dict[str, dict[str, Any]]:
    """Option name -> JSON schema, of all voices: the section `speech` of the configuration.

    Raises:
        TypeError: two voices give one name to an option.
    """
    properties: dict[str, dict[str, Any]] = {}
    for module in dict.fromkeys(voice.module for voice in VOICES.values()):
        for name, schema in schema_of(read_options(module)).items():
            if name in properties:
                raise TypeError(f"{module}: another voice has an option '{name}'")
            properties[name] = schema
    return properties
