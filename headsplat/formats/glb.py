"""Writer of glTF 2.0 binary files (`.glb`), after the Khronos specification.

glTF's axes are those of the head's frame: meters, y up, and the front of an object faces +z.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

from headsplat.runtime.errors import UserError
from headsplat.runtime.files import publish

POINTS, TRIANGLES = 0, 4
_VERTICES, _INDICES = 34962, 34963  # targets of buffer views
_COMPONENTS = {"u1": 5121, "u2": 5123, "u4": 5125, "f4": 5126}
_TYPES = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4", (4, 4): "MAT4"}
_JSON, _BIN = 0x4E4F534A, 0x004E4942
# Changes below this are zero in a morph target, meters.
_STILL = 1e-6


class Glb:
    """A file in the making.

    Attributes:
        json: the document; arrays are filled by the methods and by the caller.

    Args:
        copyright: the licence line of what is inside, or "".
    """

    def __init__(self, copyright: str = "") -> None:
        asset = {"version": "2.0", "generator": "headsplat"}
        self.json: dict[str, Any] = {"asset": asset}
        if copyright:
            asset["copyright"] = copyright
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, kind: str, value: dict[str, Any]) -> int:
        """Append to one of the document's arrays; returns the index."""
        items = self.json.setdefault(kind, [])
        items.append(value)
        return len(items) - 1

    def use(self, *extensions: str) -> None:
        """List extensions as used."""
        self.json["extensionsUsed"] = sorted({*self.json.get("extensionsUsed", ()), *extensions})

    def vertices(self, array: np.ndarray, bounds: bool = False, normalized: bool = False) -> int:
        """An accessor for a vertex attribute: (V, ...) of float32 or unsigned integers."""
        return self._accessor(array, _VERTICES, bounds, normalized)

    def indices(self, array: np.ndarray) -> int:
        """An accessor for the corners of triangles: (n,) unsigned integers."""
        return self._accessor(array, _INDICES)

    def values(self, array: np.ndarray, bounds: bool = False) -> int:
        """An accessor for animations and skins."""
        return self._accessor(array, None, bounds)

    def morph(self, change: np.ndarray) -> int:
        """An accessor for a morph target (V, 3), sparse where most vertices stand still."""
        change = np.ascontiguousarray(change, "<f4")
        rows = np.flatnonzero(np.abs(change).max(1) > _STILL)
        if len(rows) * 2 > len(change):
            return self.vertices(change, bounds=True)
        moved = np.zeros_like(change)
        moved[rows] = change[rows]
        made = {"componentType": 5126, "type": "VEC3", "count": len(change), **_bounds(moved)}
        if len(rows):
            made["sparse"] = {
                "count": len(rows),
                "indices": {"bufferView": self._view(rows.astype("<u4")), "componentType": 5125},
                "values": {"bufferView": self._view(change[rows])},
            }
        return self.add("accessors", made)

    def image(self, data: bytes, mime: str) -> int:
        """An encoded image; returns its index."""
        return self.add("images", {"bufferView": self._view(data), "mimeType": mime})

    def write(self, path: Path) -> None:
        """Publish the file.

        Raises:
            UserError: it exceeds 4 GiB, glTF's limit, or the storage is full.
        """
        with publish(path) as temporary:
            temporary.write_bytes(self.content(path))

    def content(self, name: Path | str = "the glb") -> bytes:
        """The bytes of the file; `name` and errors as in `write`."""
        document = self.json | {"buffers": [{"byteLength": self._size}]}
        text = json.dumps(document, allow_nan=False, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        total = 12 + 8 + len(text) + 8 + self._size
        if total >= 1 << 32:
            raise UserError(f"{name}: would be larger than 4 GiB; export a shorter motion")
        head = struct.pack("<4sIIII", b"glTF", 2, total, len(text), _JSON)
        return b"".join([head, text, struct.pack("<II", self._size, _BIN), *self._parts])

    def _accessor(
        self, array: np.ndarray, target: int | None, bounds: bool = False, normalized: bool = False
    ) -> int:
        array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        kind = _COMPONENTS[f"{array.dtype.kind}{array.dtype.itemsize}"]
        made = {
            "bufferView": self._view(array, target),
            "componentType": kind,
            "type": _TYPES[array.shape[1:]],
            "count": len(array),
        }
        if normalized:
            made["normalized"] = True
        return self.add("accessors", made | (_bounds(array) if bounds else {}))

    def _view(self, data: np.ndarray | bytes, target: int | None = None) -> int:
        content = data if isinstance(data, bytes) else data.tobytes()
        view = {"buffer": 0, "byteOffset": self._size, "byteLength": len(content)}
        if target is not None:
            view["target"] = target
        content += b"\0" * (-len(content) % 4)
        self._parts.append(content)
        self._size += len(content)
        return self.add("bufferViews", view)


def _bounds(array: np.ndarray) -> dict[str, list[float]]:
    low, high = array.min(0), array.max(0)
    return {"min": np.atleast_1d(low).tolist(), "max": np.atleast_1d(high).tolist()}
