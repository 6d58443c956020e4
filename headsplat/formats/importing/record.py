"""`import.json`: source, assumptions and image locations of an import."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from headsplat.formats.importing.clip import ImageSource, ImportedClip
from headsplat.runtime.errors import UserError, shown
from headsplat.runtime.files import read_json, write_json
from headsplat.runtime.storage import AGAIN

PARTS = ("images", "alpha", "head_mask", "mouth_mask")


@dataclass(frozen=True)
class ImportRecord:
    """Record of an import, the input of packing.

    Attributes:
        kind: name of the format.
        folder: path in the table of subjects.
        img_size: height, width of the source images.
        ids: all frame ids, ascending.
        parts: "images", "alpha", "head_mask", "mouth_mask" -> id -> image; empty where the
            folder brings none.
        notes: one sentence each.
    """

    kind: str
    folder: str
    img_size: tuple[int, int]
    ids: list[int]
    parts: Mapping[str, Mapping[int, ImageSource]]
    notes: tuple[str, ...]

    @classmethod
    def from_clip(cls, kind: str, folder: Path, clip: ImportedClip) -> "ImportRecord":
        """The record of a clip."""
        height, width = (int(n) for n in clip.track.img_size)
        parts = {name: getattr(clip, name) for name in PARTS}
        ids = [int(i) for i in clip.track.ids]
        return cls(kind, str(folder), (height, width), ids, parts, clip.notes)

    def save(self, path: Path) -> None:
        """Publish as JSON; an image is [path, array, labels]."""
        parts = {
            name: {str(i): [str(p.path), p.array, p.labels] for i, p in images.items()}
            for name, images in self.parts.items()
        }
        fields = {name: getattr(self, name) for name in ("kind", "folder", "img_size", "ids")}
        write_json(path, {**fields, "notes": self.notes, "parts": parts})

    @classmethod
    def load(cls, path: Path) -> "ImportRecord":
        """Read `import.json`; a missing key is a `UserError`."""
        value = read_json(path)
        try:
            parts = {
                name: {
                    int(i): ImageSource(Path(file), array, labels)
                    for i, (file, array, labels) in value["parts"][name].items()
                }
                for name in PARTS
            }
            height, width = value["img_size"]
            return cls(
                value["kind"], value["folder"], (height, width), value["ids"], parts,
                tuple(value["notes"]),
            )  # fmt: skip
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = shown(repr(error))
            raise UserError(f"{path}: not a record of an import ({reason}); {AGAIN}") from error
