"""Options of files for other tools; importing this module imports no torch."""

from dataclasses import dataclass
from typing import Any

from headsplat.options import option, schema_of

VIEWER, HEAD = "viewer", "head"
FREE, ANY = "free", "any"


@dataclass(frozen=True)
class ExportOptions:
    """Section `export`."""

    ply_axes: str = option(
        VIEWER,
        "axes of .ply: viewer (y down, as splat viewers expect it) or head (y up, the face looks "
        "to +z)",
        choices=(VIEWER, HEAD),
    )
    ply_degree: int = option(
        3, "degree of the harmonics in .ply; 0 makes small files, but some importers want 3", 0, 3
    )
    spz_version: int = option(
        3, "version of .spz: 3 (gzip) or 4 (zstd, which PlayCanvas wants)", 3, 4
    )
    texture: int = option(1024, "side of the mesh's texture, pixels", 128, 4096)
    pass_on_head: str = option(
        FREE,
        "head models whose shapes a web page, mesh or LAM zip may hold: free (MIT) or any (you say "
        "that the licence of yours, such as flame's, allows it)",
        choices=(FREE, ANY),
    )


def head_schema() -> dict[str, dict[str, Any]]:
    """JSON schema of `pass_on_head`, for exports that take no other option of the section."""
    return {"pass_on_head": schema_of(ExportOptions)["pass_on_head"]}
