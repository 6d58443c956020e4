"""What a driven video shows besides the head: its background, and what is below the head.

Importing this module imports no torch, so that the workflow can plan with it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headsplat.drive.kinds import AUTO
from headsplat.options import option
from headsplat.runtime.errors import UserError, shown
from headsplat.video.formats import FORMATS, MP4, suffix_of

WHITE, OWN, TRANSPARENT = "white", "own", "transparent"
HEAD, TORSO, PASTE = "head", "torso", "paste"
BODIES = (AUTO, HEAD, TORSO, PASTE)
LARGEST_ID = 10**8
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")
BACKGROUNDS = f"{AUTO}, {WHITE}, #rrggbb, {OWN}, {TRANSPARENT} or an image file"


@dataclass(frozen=True)
class Look:
    """The section `drive` of the configuration; a motion's row may change it.

    Attributes:
        background: see its help.
        body: one of `BODIES`.
        still_frame: see its help.
    """

    background: str = option(
        AUTO,
        "white, #rrggbb, own (the clip's background without the person), transparent, or an image "
        "file; auto: white in an mp4, transparent in the other formats, the clip with body paste",
    )
    body: str = option(
        AUTO,
        "below the head: head (nothing), torso (the avatar's own), paste (the head is laid over "
        "the clip's images); auto: torso where the avatar has one, else head",
        choices=BODIES,
    )
    still_frame: int = option(
        0, "with body paste: id of the one image of the clip that the head is laid over; 0: the "
        "clip plays", 0, LARGEST_ID,
    )  # fmt: skip

    @property
    def image(self) -> str:
        """The image file of the background, or ""."""
        named = (AUTO, WHITE, OWN, TRANSPARENT)
        return "" if self.background in named or _color(self.background) else self.background

    @property
    def color(self) -> tuple[float, float, float] | None:
        """The background's red, green and blue in 0..1, if it is of one color."""
        text = "#ffffff" if self.background == WHITE else self.background
        return _color(text)

    @property
    def needs_plate(self) -> bool:
        """Whether the clip's background without the person is needed."""
        return self.background == OWN or self.body == PASTE

    def resolved(self, out: Path | str) -> "Look":
        """The look with the background that `auto` stands for; `auto` remains with body paste.

        Raises:
            UserError: an unknown body, a background that is written wrongly, a transparent one in a
                format without alpha, an unknown format, or a still frame without paste.
        """
        suffix = suffix_of(out)
        if self.body not in BODIES:
            raise UserError(f"body '{shown(self.body)}': use one of {', '.join(BODIES)}")
        text = self.background
        if not text or "\0" in text or (text.startswith("#") and not _color(text)):
            raise UserError(f"background '{shown(text)}': use {BACKGROUNDS}")
        if text == TRANSPARENT and not FORMATS[suffix].alpha:
            others = ", ".join(name for name, kind in FORMATS.items() if kind.alpha)
            raise UserError(
                f"background {TRANSPARENT}: {suffix} has no alpha channel; ask for {others}"
            )
        if not 0 <= self.still_frame <= LARGEST_ID:
            raise UserError(f"still_frame {self.still_frame}: use an id of the clip's frames, or 0")
        if self.still_frame and self.body != PASTE:
            raise UserError(
                f"still_frame {self.still_frame}: needs body {PASTE}, not {self.body}; change one"
            )
        if text == AUTO and self.body != PASTE:
            text = WHITE if suffix == MP4 else TRANSPARENT
        return Look(text, self.body, self.still_frame)


def _color(text: str) -> tuple[float, float, float] | None:
    if not _COLOR.fullmatch(text):
        return None
    red, green, blue = bytes.fromhex(text[1:])
    return red / 255, green / 255, blue / 255


@dataclass(frozen=True)
class ClipFiles:
    """Files of the subject's clip that a look may need.

    Attributes:
        plate: its background without the person, image file, or None.
        frames: zips of its images.
        alpha: zips of its mattes.
        parsing: zips of its masks.
    """

    plate: Path | None = None
    frames: Sequence[Path] = field(default=())
    alpha: Sequence[Path] = field(default=())
    parsing: Sequence[Path] = field(default=())

    def require(self, look: Look) -> None:
        """Raise `UserError` if a file that the look needs is missing."""
        if look.body == PASTE and not (self.frames and self.alpha and self.parsing):
            raise UserError(
                f"body {PASTE} needs the subject's clip; give the folder that holds frames, alpha "
                "and parsing (in a shell --clip work/<subject>)"
            )
        if look.needs_plate and self.plate is None:
            raise UserError(
                f"background {look.background} with body {look.body} needs the subject's clip, "
                "whose folder is not given; give the folder that holds frames and alpha (in a "
                "shell --clip work/<subject>)"
            )
