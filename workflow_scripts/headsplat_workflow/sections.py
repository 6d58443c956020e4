"""The sections of the configuration: schema and defaults, from the options of each stage."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from headsplat.detect.options import CropOptions, DetectOptions
from headsplat.drive.kinds import AUTO
from headsplat.drive.look import Look
from headsplat.evaluate.split import SplitOptions
from headsplat.export.options import ExportOptions
from headsplat.formats.registry import ImportSettings
from headsplat.masks.matting_models import MatteOptions
from headsplat.masks.parsing_models import ParseOptions
from headsplat.options import option, schema_of
from headsplat.runtime.watchdog_launcher import DEFAULT_MINUTES
from headsplat.speech.options import VoiceOptions
from headsplat.speech.voices import all_options as voice_options
from headsplat.synthetic.options import BuiltinOptions
from headsplat.tracking.options import TrackOptions
from headsplat.train.options import all_options
from headsplat.view.options import ViewOptions, phone_schema
from headsplat.web.options import WebOptions

Properties = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class HeadFiles:
    """Section `heads`: where the head models lie that are not part of headsplat."""

    ict: str = option("assets/ICT-FaceKit.tar.xz", "ICT-FaceKit's FaceXModel: folder, zip or tar")
    flame: str = option(
        "assets/flame", "folder with FLAME's generic_model.pkl and the public side files"
    )


@dataclass(frozen=True)
class NetworkFiles:
    """Section `networks`: weights of pretrained networks."""

    rvm: str | None = option(None, "Robust Video Matting: rvm_*.onnx or rvm_*.pth")
    bisenet: str | None = option(
        None, "BiSeNet face parsing: 79999_iter.pth, or an ONNX export of it"
    )
    mica: str | None = option(None, "MICA, identity codes for FLAME heads: mica.tar")
    diffposetalk: str | None = option(None, "DiffPoseTalk, speech for FLAME heads: iter_*.pt")
    diffposetalk_stats: str | None = option(None, "its statistics: stats_train.npz")
    diffposetalk_style: str | None = option(None, "its style encoder (.pt), or a style (.npy)")
    audio2face: str | None = option(None, "Audio2Face-3D 2.3, an actor's folder")
    lam: str | None = option(None, "LAM-A2E: lam_audio2exp_streaming.tar, unpacked")


@dataclass(frozen=True)
class SpeakOptions:
    """Section `speak`: one sound for `snakemake speak`, without a row in the table of motions."""

    subject: str | None = option(None, "name of the subject that speaks")
    sound: str | None = option(None, "sound or video file; or builtin, a built-in sentence")
    voice: str = option(AUTO, "as the column voice of the table of motions")
    transcript: str | None = option(None, "text file with the words of the sound")


@dataclass(frozen=True)
class ViewSubject:
    """Section `view`: whose page `snakemake view` shows; beside it stand the page's own options."""

    subject: str | None = option(None, "name of the subject; ~ for the first one of the table")


@dataclass(frozen=True)
class WatchdogOptions:
    """Section `watchdog`: when a stage counts as hung."""

    idle: float | None = option(
        DEFAULT_MINUTES[0],
        "minutes without progress and without CPU use, or at the memory limit, after which a stage "
        "is ended; ~ for never",
        above=0,
    )
    busy: float | None = option(
        DEFAULT_MINUTES[1], "the same for a stage that uses the CPU", above=0
    )


@dataclass(frozen=True)
class Section:
    """One section.

    Attributes:
        about: one line for readers.
        properties: returns option name -> JSON schema.
        preset: whether presets may change it.
    """

    about: str
    properties: Callable[[], Properties]
    preset: bool = True


def _of(options: type) -> Callable[[], Properties]:
    return lambda: schema_of(options)


SECTIONS = {
    "heads": Section("Files of head models", _of(HeadFiles), preset=False),
    "networks": Section(
        "Weights of networks; ~ takes the file in assets/ under a known name",
        _of(NetworkFiles),
        preset=False,
    ),
    "speak": Section("One sound for the rule speak", _of(SpeakOptions), preset=False),
    "view": Section("The page of the rule view", lambda: view_schema(), preset=False),
    "watchdog": Section("When a stage counts as hung", _of(WatchdogOptions), preset=False),
    "builtin": Section("The built-in clip", _of(BuiltinOptions), preset=False),
    "detect": Section("Face detection", _of(DetectOptions)),
    "crop": Section("The square window", _of(CropOptions)),
    "track": Section("The track of the head", _of(TrackOptions)),
    "matte": Section("Mattes", _of(MatteOptions)),
    "parse": Section("Masks of head and mouth", _of(ParseOptions)),
    "split": Section("Training and held-out frames", _of(SplitOptions)),
    "import": Section("Tracks of other tools", _of(ImportSettings)),
    "train": Section("Training", all_options),
    "voice": Section("The voice that is learned from the clip", _of(VoiceOptions)),
    "speech": Section("Networks that speak", voice_options),
    "drive": Section("Background and body of driven videos", _of(Look)),
    "web": Section("The web page of an avatar", _of(WebOptions)),
    "export": Section("Files for other tools", _of(ExportOptions)),
}


def view_schema() -> Properties:
    """Option name -> JSON schema of the section `view`."""
    return schema_of(ViewSubject) | schema_of(ViewOptions) | phone_schema()


# Options outside the sections.
SUBJECTS = {
    "type": "string",
    "default": "config/subjects.tsv",
    "description": "tab-separated table of subjects; motions.tsv lies beside it",
}
VIDEOS = {
    "type": ["string", "null"],
    "default": None,
    "description": "folder whose videos `snakemake subjects` adds to the table of subjects",
}
SUFFIX = {
    "type": "string",
    "default": "",
    "description": "ends the names of subjects that it adds",
}
CHUNKS = {
    "type": ["integer", "string"],
    "minimum": 1,
    "maximum": 999,
    "pattern": "^auto$",
    "default": "auto",
    "description": "packed files per stage, made side by side; a crash costs at most one of them "
    "per running job; auto: 4 s of the clip each, 4 to 16 of them, more from 16 minutes on",
}
# Everything outside of sections that presets do not change.
GENERAL: Properties = {"subjects": SUBJECTS, "videos": VIDEOS, "suffix": SUFFIX}
# Presets of a configuration that has none of its own.
PRESETS: dict[str, Any] = {
    "standard": {},
    "preview": {
        "crop": {"size": 256},
        "track": {"photometric": "never"},
        "train": {"steps": 1000, "batch": 4, "gaussians": 8000, "profile_steps": 10},
    },
    "high": {"train": {"steps": 10_000, "gaussians": 32_000}},
}


def defaults() -> dict[str, Any]:
    """Every option's default, presets left out."""
    sections = {
        name: {key: schema["default"] for key, schema in section.properties().items()}
        for name, section in SECTIONS.items()
    }
    general = {name: schema["default"] for name, schema in (GENERAL | {"chunks": CHUNKS}).items()}
    return general | sections


def schema() -> dict[str, Any]:
    """JSON schema of the configuration, closed: an unknown key is an error."""
    refs = {
        name: {"$ref": f"#/$defs/{name}"}
        for name in ("chunks", *(name for name, section in SECTIONS.items() if section.preset))
    }
    own = {name: _object(s) for name, s in SECTIONS.items() if not s.preset}
    presets = {
        "type": "object",
        "minProperties": 1,
        "description": "name -> sections laid over the others for the subjects that name it",
        "additionalProperties": {
            "type": "object",
            "additionalProperties": False,
            "properties": {name: dict(ref) for name, ref in refs.items()},
        },
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "headsplat's options",
        "type": "object",
        "additionalProperties": False,
        "properties": {**deepcopy(GENERAL), **own, **refs, "presets": presets},
        "$defs": {"chunks": dict(CHUNKS)}
        | {name: _object(s) for name, s in SECTIONS.items() if s.preset},
    }


def _object(section: Section) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "description": section.about,
        "properties": section.properties(),
    }
