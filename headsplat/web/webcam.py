"""The webcam's face tracker as files in a page: MediaPipe's package for browsers, and its model.

The package is the user's own file, as npm packs it. Of its 30 MB a page needs three files. Their
hashes are checked here, and by the page before it runs them.
"""

import gzip
import hashlib
import lzma
import tarfile
import zlib
from io import BytesIO
from pathlib import Path

from headsplat.networks.model_files import model_file
from headsplat.runtime.errors import UserError, one_line
from headsplat.runtime.regular import open_regular
from headsplat.runtime.tars import tar_members

PACKAGE, MODEL = "webcam-package", "webcam-model"  # ids of the elements
# SHA-256 of each file that is needed; face_files.js has the same.
_NEEDED = {
    "vision_bundle.mjs": "55d7ab624fbb70dcc5adc4ae6d7ea9cfcb569139d3dbfbf2b1deafcb966bc0fe",
    "wasm/vision_wasm_internal.js":
        "e7fd9858e8e8f221d9b96eddc11f8e077f263e0b7bbd79d3cbe882b134274f8c",
    "wasm/vision_wasm_internal.wasm":
        "6a5c64584c2ab61c763b6e204afbdbc7ce1caf7f5216187322bca8df94f646bc",
}  # fmt: skip
_LARGEST = 32 << 20  # bytes of one of them
_BROKEN = (tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, OSError)
_FIX = "give the file that `npm pack @mediapipe/tasks-vision@0.10.35` writes"


def webcam_files(package: Path) -> dict[str, bytes]:
    """Files by the id of their element.

    Args:
        package: the package, .tgz.

    Raises:
        UserError: it cannot be read, lacks a file or has another one, or the model is not there.
    """
    found: dict[str, bytes] = {}
    try:
        with open_regular(package) as handle:
            for member in tar_members(handle):
                name = member.name.as_posix().removeprefix("package/")
                if name in _NEEDED and member.size <= _LARGEST:
                    found[name] = member.read()
    except _BROKEN as error:
        raise UserError(f"{package}: cannot be read ({one_line(error)}); {_FIX}") from error
    if missing := [name for name in _NEEDED if name not in found]:
        raise UserError(f"{package}: lacks {missing[0]}; {_FIX}")
    for name, content in found.items():
        if hashlib.sha256(content).hexdigest() != _NEEDED[name]:
            raise UserError(f"{package}: {name} is damaged or of another version; {_FIX}")
    packed_again = BytesIO()
    with (
        gzip.GzipFile("", "wb", 9, packed_again, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name in _NEEDED:
            info = tarfile.TarInfo(f"package/{name}")
            info.size = len(found[name])
            archive.addfile(info, BytesIO(found[name]))
    return {
        PACKAGE: packed_again.getvalue(),
        MODEL: model_file("face_landmarker.task").read_bytes(),
    }
