"""Read which GPU architectures a compiled file holds code for, without CUDA's tools.

nvcc stores device code in fat binaries: a header with a magic number, and entries of PTX or machine
code. The layout is not documented; these fields agree with `cuobjdump --list-elf --list-ptx`.
"""

import struct
from pathlib import Path

_MAGIC = 0xBA55ED50.to_bytes(4, "little")
_KINDS = {1: "ptx", 2: ""}
_ARCH_AT = 28  # offset of the architecture within an entry


def targets_in(path: Path) -> set[str]:
    """Architectures in all fat binaries of a file, as "90" or "ptx90"."""
    data = path.read_bytes()
    found = set()
    start = data.find(_MAGIC)
    while start >= 0:
        _, header, size = struct.unpack_from("<HHQ", data, start + 4)
        entry, end = start + header, start + header + size
        while entry < end:
            kind, _, header, size = struct.unpack_from("<HHIQ", data, entry)
            (arch,) = struct.unpack_from("<I", data, entry + _ARCH_AT)
            found.add(f"{_KINDS[kind]}{arch}")
            entry += header + size
        start = data.find(_MAGIC, end)
    return found
