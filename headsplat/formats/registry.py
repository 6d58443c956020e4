"""Registry of importable dataset formats. A new format is one module and one line here.

Importing this module imports no reader, so that planning needs no torch.
"""

from dataclasses import dataclass
from os.path import isdir  # False for unreadable folders, where `Path.is_dir` raises
from pathlib import Path

from headsplat.options import option
from headsplat.registry import Plugin, Registry

ALPHA, PARSING = "alpha", "parsing"


@dataclass(frozen=True)
class ImportSettings:
    """Section `import` of the configuration."""

    blink_gain: float = option(
        0.5,
        "lid closure per unit of blink score, for trackers that give scores; their expressions "
        "close lids too",
        0,
        2,
    )


@dataclass(frozen=True)
class Format(Plugin):
    """A dataset format; the target is a `headsplat.formats.importing.clip.ReadClip`.

    Attributes:
        alpha: subfolder whose presence means that every frame has a matte; "." for always, None for
            never. The matting stage is then skipped.
        parsing: the same for the masks of head and mouth.
        own_images: whether the user may give another folder of images.
        frame_delta: whether frames do not name their images, so that an offset may be given.
    """

    alpha: str | None = None
    parsing: str | None = None
    own_images: bool = False
    frame_delta: bool = False

    def brings(self, folder: Path) -> frozenset[str]:
        """Which of `ALPHA` and `PARSING` a folder has, judged by its subfolders."""
        parts = {ALPHA: self.alpha, PARSING: self.parsing}
        return frozenset(
            part for part, name in parts.items() if name is not None and isdir(folder / name)
        )


FORMATS: Registry[Format] = Registry(
    "format",
    {
        "metrical-tracker": Format(
            "headsplat.formats.metrical_tracker:read_metrical_tracker",
            "metrical-tracker's output",
            own_images=True,
            frame_delta=True,
        ),
        "flame-head-tracker": Format(
            "headsplat.formats.flame_head_tracker.reader:read_flame_head_tracker",
            "flame-head-tracker's results",
            own_images=True,
            frame_delta=True,
        ),
        "imavatar": Format(
            "headsplat.formats.imavatar.reader:read_imavatar",
            "IMavatar's data folder",
            "mask",
            "semantic",
        ),
        "vhap": Format("headsplat.formats.vhap.reader:read_vhap", "VHAP's dataset", "fg_masks"),
        "flashavatar": Format(
            "headsplat.formats.flashavatar.reader:read_flashavatar",
            "FlashAvatar's dataset",
            ".",
            ".",
            frame_delta=True,
        ),
    },
)
