"""Niantic's `.spz`: Gaussians in 14 to 65 bytes each (https://github.com/nianticlabs/spz).

Axes are x right, y up, z backwards: those of the head's frame. Files of version 3 are one gzip
stream, as most readers expect. Those of version 4 hold a zstd frame per attribute. Quantized
numbers hardly compress, so these frames store their content as it is, which every reader accepts.
"""

import gzip
import struct
from pathlib import Path

import numpy as np

from headsplat.formats.splats import Splats, require_near
from headsplat.gaussians.sh import C0
from headsplat.runtime.files import publish

GZIP, ZSTD = 3, 4
_MAGIC = 0x5053474E
_HIGHEST = (1 << 23) - 1  # of a 24-bit coordinate
_FINEST = 20  # fractional bits: 1 micrometer, up to 8 meters
_COLOR = 0.15  # of a constant coefficient: colors a bit outside of 0..1 keep their value
_BITS = (5, 4, 4)  # of the harmonics' degrees 1 to 3
_LEVEL = 9  # of gzip
_ZSTD_MAGIC, _ZSTD_BLOCK = 0xFD2FB528, 1 << 17


def write_spz(path: Path, splats: Splats, version: int = GZIP) -> None:
    """Publish one frame's Gaussians.

    Args:
        path: the file.
        splats: of one frame.
        version: `GZIP` or `ZSTD`.

    Raises:
        UserError: as `require_near`.
    """
    reach = require_near(path, splats)
    fraction = next(bits for bits in range(_FINEST, 0, -1) if reach * (1 << bits) < _HIGHEST)
    degree = splats.degree
    streams = [
        _positions(splats.means.double().numpy() * (1 << fraction)),
        _bytes((splats.opacities.numpy() * 255).clip(1, 254)),  # others have no logit
        _bytes(splats.harmonics[:, 0].numpy() * _COLOR * 255 + 127.5),
        _bytes((splats.scales.log().numpy() + 10) * 16),
        _smallest_three(splats.quats.double().numpy()),
    ]
    if degree:
        streams.append(_harmonics(splats.harmonics[:, 1 : (degree + 1) ** 2].numpy(), degree))
    header = struct.pack("<IIIBBB", _MAGIC, version, len(splats), degree, fraction, 0)
    with publish(path) as temporary:
        if version == GZIP:
            plain = b"".join([header, b"\0", *streams])
            temporary.write_bytes(gzip.compress(plain, _LEVEL, mtime=0))
        else:
            temporary.write_bytes(_version_4(header, streams))


def color_range() -> tuple[float, float]:
    """Lowest and highest color that the format holds; others are clamped."""
    return 0.5 - C0 * 0.5 / _COLOR, 0.5 + C0 * 0.5 / _COLOR


def _bytes(values: np.ndarray) -> bytes:
    return np.rint(values).clip(0, 255).astype(np.uint8).tobytes()


def _positions(fixed: np.ndarray) -> bytes:
    """(N, 3) in the unit of the last bit -> 24-bit signed integers."""
    whole = np.rint(fixed).astype("<i4")
    return np.ascontiguousarray(whole).view(np.uint8).reshape(-1, 4)[:, :3].tobytes()


def _smallest_three(quats: np.ndarray) -> bytes:
    """(N, 4) (w, x, y, z) -> 2 bits, which component is largest, and 10 for each of the others."""
    q = quats[:, [1, 2, 3, 0]]
    largest = np.abs(q).argmax(1)
    q = q * np.where(np.take_along_axis(q, largest[:, None], 1) < 0, -1, 1)
    packed = largest.astype(np.uint32)
    others = np.argsort(np.arange(4) == largest[:, None], axis=1, kind="stable")[:, :3]
    for value in np.take_along_axis(q, others, 1).T:
        size = np.rint(np.abs(value) * np.sqrt(2) * 511).clip(0, 511).astype(np.uint32)
        packed = packed << 10 | (value < 0).astype(np.uint32) << 9 | size
    return packed.astype("<u4").tobytes()


def _harmonics(values: np.ndarray, degree: int) -> bytes:
    """(N, k, 3) coefficients of degree 1 and more -> a byte each, colors innermost."""
    whole = np.rint(values * 128) + 128
    for band, bits in zip(range(1, degree + 1), _BITS, strict=False):
        step = 1 << (8 - bits)
        part = whole[:, band * band - 1 : (band + 1) ** 2 - 1]
        part[...] = (part + step // 2) // step * step
    return whole.clip(0, 255).astype(np.uint8).tobytes()


def _version_4(header: bytes, streams: list[bytes]) -> bytes:
    frames = [_stored_frame(stream) for stream in streams]
    sizes = [struct.pack("<QQ", len(f), len(s)) for f, s in zip(frames, streams, strict=True)]
    head = header + struct.pack("<BI12x", len(streams), 32)
    return b"".join([head, *sizes, *frames])


def _stored_frame(content: bytes) -> bytes:
    """A zstd frame (RFC 8878) of blocks that are not compressed."""
    # One segment, content size in 8 bytes, no checksum.
    parts = [struct.pack("<IBQ", _ZSTD_MAGIC, 0b11100000, len(content))]
    for start in range(0, max(len(content), 1), _ZSTD_BLOCK):
        block = content[start : start + _ZSTD_BLOCK]
        last = start + _ZSTD_BLOCK >= len(content)
        parts += [struct.pack("<I", last | len(block) << 3)[:3], block]
    return b"".join(parts)
