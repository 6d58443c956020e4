"""The folder of a clip, as the pipeline without Snakemake makes and reads it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from headsplat.drive.look import PASTE, ClipFiles, Look
from headsplat.masks.clean_plate import make_clean_plate
from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_json, write_json
from headsplat.runtime.logs import log


class ClipFolder:
    """Paths of a clip's files; names and formats are those of `work/<subject>`.

    Args:
        folder: of the clip, which need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inputs, self.info = folder / "inputs.json", folder / "video.json"
        self.crop, self.table = folder / "crop.json", folder / "frames.tsv"
        self.landmarks, self.split = folder / "landmarks.npz", folder / "split.json"
        self.landmark_track = folder / "track" / "landmark_track.npz"
        self.landmark_identity = folder / "track" / "landmark_identity.npy"
        self.track, self.identity = folder / "track" / "track.npz", folder / "identity.npy"
        self.cut = folder / "neck_cut.npz"
        self.verdict = folder / "track" / "refinement.json"
        self.evaluation, self.plate = folder / "evaluation.npz", folder / "clean_plate.png"

    def chunks(self, stage: str, count: int, suffix: str = ".zip") -> list[Path]:
        """Files of a stage, one per chunk, whether they exist or not."""
        return [self.folder / stage / f"{chunk:03d}{suffix}" for chunk in range(count)]

    def zips(self, stage: str) -> list[Path]:
        """Existing files of all chunks.

        Raises:
            UserError: there are none.
        """
        found = sorted((self.folder / stage).glob("*.zip"))
        if not found:
            raise UserError(f"{self.folder / stage}: holds no images; track the video first")
        return found

    def scratch(self, stage: str) -> Path:
        """Folder of a stage's state."""
        return self.folder / "scratch" / stage

    def claim(self, inputs: Mapping[str, Any]) -> None:
        """Record what a clip is made of.

        Args:
            inputs: name -> JSON value.

        Raises:
            UserError: the folder holds a clip that was made of something else.
        """
        if self.inputs.is_file():
            noted = read_json(self.inputs)
            for name, value in inputs.items():
                if noted.get(name) != value:
                    raise UserError(
                        f"{self.folder}: was made with another {name}; give another folder or "
                        "delete it"
                    )
            return
        if self.info.is_file():
            raise UserError(f"{self.folder}: holds a clip of other origin; give another folder")
        write_json(self.inputs, inputs)


def look_files(look: Look, folder: Path | str | None) -> ClipFiles:
    """Files of a clip that a look needs, of which the clean plate is made if it is missing.

    Args:
        look: of the video.
        folder: of the clip; None, and a look that needs no clip, give no files.

    Raises:
        UserError: the folder holds no images, or they show no background.
    """
    if not look.needs_plate or folder is None:
        return ClipFiles()
    clip = ClipFolder(Path(folder))
    images = [clip.zips(name) for name in ("frames", "alpha")]
    make_missing("clean plate", [clip.plate], make_clean_plate, *images, clip.plate)
    parsing = clip.zips("parsing") if look.body == PASTE else ()
    return ClipFiles(clip.plate, *images, parsing)


def make_missing(name: str, outputs: Sequence[Path], make: Callable[..., Any], *args: Any) -> None:
    """Run a stage, `make(*args)`, unless all of its outputs exist; `name` is for the log."""
    if not all(path.is_file() for path in outputs):
        log.info("%s: %s", name, outputs[0])
        make(*args)


def required_file(path: Path) -> Path:
    """The path; `UserError` if there is no such file."""
    if not path.is_file():
        raise UserError(f"{path}: there is no such file; give another path")
    return path
