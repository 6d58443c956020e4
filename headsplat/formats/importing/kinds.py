"""The kinds of folders that can be imported, and what each brings, by a look at file names alone.

The workflow asks this while it plans, so nothing heavy is imported here; readers are registered
in `headsplat.formats.importing.registry`.
"""

from collections.abc import Callable
from os.path import isdir  # unlike `Path.is_dir` it takes a folder that cannot be read for none
from pathlib import Path

ALPHA, PARSING = "alpha", "parsing"


def _nothing(folder: Path) -> frozenset[str]:
    return frozenset()


def _flashavatar(folder: Path) -> frozenset[str]:
    return frozenset({ALPHA, PARSING})


def _imavatar(folder: Path) -> frozenset[str]:
    found = {ALPHA: isdir(folder / "mask"), PARSING: isdir(folder / "semantic")}
    return frozenset(part for part, there in found.items() if there)


def _vhap(folder: Path) -> frozenset[str]:
    return frozenset({ALPHA} if isdir(folder / "fg_masks") else ())


# kind -> which of `ALPHA` and `PARSING` its folder brings for every frame; the stages that would
# make them are then left out. A reader must fill exactly the maps named here.
KINDS: dict[str, Callable[[Path], frozenset[str]]] = {
    "metrical-tracker": _nothing,
    "flame-head-tracker": _nothing,
    "imavatar": _imavatar,
    "vhap": _vhap,
    "flashavatar": _flashavatar,
}
# The kinds whose images the user may replace by a folder of their own.
OWN_IMAGES = ("metrical-tracker", "flame-head-tracker")
# The kinds whose frames do not name their images.
FRAME_DELTA_KINDS = ("metrical-tracker", "flame-head-tracker", "flashavatar")
