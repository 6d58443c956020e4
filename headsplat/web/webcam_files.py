"""The files with which a page finds a face in a webcam, packed for the page itself.

They are MediaPipe's package for browsers, as npm packs it, and the model `face_landmarker.task`.
The package is code, so only files of a known SHA-256 are taken. The page's module `face_files.js`
has the same. Versions from 1.0 on report their use to their maker.
"""

import gzip
import hashlib
import io
import tarfile
import zlib
from pathlib import Path

from headsplat.networks.model_files import model_file
from headsplat.runtime.errors import UserError
from headsplat.runtime.regular import read_regular

PACKAGE, MODEL = "mediapipe-tasks-vision-0.10.35.tgz", "face_landmarker.task"
# Files of the package that the page loads.
KNOWN = {
    "package/vision_bundle.mjs":
        "55d7ab624fbb70dcc5adc4ae6d7ea9cfcb569139d3dbfbf2b1deafcb966bc0fe",
    "package/wasm/vision_wasm_internal.js":
        "e7fd9858e8e8f221d9b96eddc11f8e077f263e0b7bbd79d3cbe882b134274f8c",
    "package/wasm/vision_wasm_internal.wasm":
        "6a5c64584c2ab61c763b6e204afbdbc7ce1caf7f5216187322bca8df94f646bc",
}  # fmt: skip
_LARGEST, _MOST_BYTES = 64 << 20, 96 << 20  # of the package, and unpacked


def webcam_files(package: Path) -> dict[str, bytes]:
    """The files by the id under which the page holds them.

    Args:
        package: what `npm pack @mediapipe/tasks-vision@0.10.35` writes.

    Raises:
        UserError: the package or the model is missing, damaged or of another version.
    """
    try:
        found = _members(read_regular(package, _LARGEST))
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{package}: cannot be read ({reason}); {_advice()}") from error
    for name, expected in KNOWN.items():
        if hashlib.sha256(found.get(name, b"")).hexdigest() != expected:
            raise UserError(f"{package}: its '{name}' is missing or another; {_advice()}")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in found.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    model = model_file(MODEL).read_bytes()
    return {"webcam-package": gzip.compress(packed.getvalue(), mtime=0), "webcam-model": model}


def _members(content: bytes) -> dict[str, bytes]:
    """The files of `KNOWN` in a package."""
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as unpacking:
        unpacked = unpacking.read(_MOST_BYTES + 1)
    if len(unpacked) > _MOST_BYTES:
        raise ValueError(f"over {_MOST_BYTES >> 20} MiB unpacked")
    found = {}
    with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as archive:
        for entry in archive:
            file = archive.extractfile(entry) if entry.isreg() and entry.name in KNOWN else None
            if file is not None:
                found[entry.name] = file.read()
    return found


def _advice() -> str:
    return f"give {PACKAGE}, which 'npm pack @mediapipe/tasks-vision@0.10.35' writes"
