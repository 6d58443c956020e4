"""The files that the page of a subject may show: a table of names, made once at the start.

Requests name an entry of this table, never a path. A link that leads out of the folders of the
project is refused when it is opened. These folders themselves may be links to a larger disk.
"""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from headsplat.runtime.errors import UserError, shown

WORK, RESULTS, SCRATCH = "work", "results", "scratch"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
_PACK = re.compile(r"[0-9]{3}\.zip")
_STATE = re.compile(r"[0-9a-f]{16}")
_HEAD = re.compile(r"[A-Za-z0-9_.-]{1,100}\.npz")
_MOST_FILES = 1000  # of a folder
AVATAR_FILES = ("avatar.json", "avatar.npz", "track.npz", "head.npz")


@dataclass(frozen=True)
class SubjectFiles:
    """The files of one subject by name.

    Attributes:
        name: of the subject.
        files: name -> file, which may not exist yet.
        folders: name -> folder, and the pattern of the files or folders in it.
        roots: folders in which everything lies, links resolved.
    """

    name: str
    files: Mapping[str, Path]
    folders: Mapping[str, tuple[Path, re.Pattern[str]]]
    roots: Sequence[Path] = field(repr=False)

    def file(self, name: str) -> Path | None:
        """An existing file of the table, or None.

        Raises:
            UserError: it is a link that leads out of the project.
        """
        return self.inside(self.files[name])

    def listed(self, name: str) -> list[Path]:
        """What lies in a folder under an expected name, in order; errors as of `file`."""
        folder, pattern = self.folders[name]
        if self.inside(folder) is None:
            return []
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if pattern.fullmatch(entry.name))
        found = (self.inside(folder / entry) for entry in names[:_MOST_FILES])
        return [path for path in found if path is not None]

    def inside(self, path: Path) -> Path | None:
        """An existing file without links, or None; errors as of `file`."""
        try:
            real = path.resolve(strict=True)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, RuntimeError) as error:  # a link to itself
            raise UserError(f"{path}: cannot be followed; remove this link") from error
        if not any(real.is_relative_to(root) for root in self.roots):
            raise UserError(f"{path}: a link out of the project is not followed; copy the file")
        return real


def subject_files(given: str) -> SubjectFiles:
    """The table of a subject.

    Args:
        given: `results/<subject>`, `work/<subject>` or something in it, an avatar's folder, or a
            subject's name in the current folder.

    Raises:
        UserError: there is no such subject.
    """
    path = Path(os.path.abspath(given))
    for folder in (path, *path.parents):
        if folder.parent.name in (WORK, RESULTS) and _NAME.fullmatch(folder.name):
            if path.exists() or any((folder.parents[1] / w / folder.name).exists() for w in _BOTH):
                return project_files(folder.parents[1], folder.name)
            break
    if (path / "avatar.json").is_file() or (path / "model" / "avatar.json").is_file():
        return _of_avatar(path if (path / "avatar.json").is_file() else path / "model")
    here = Path.cwd()
    if _NAME.fullmatch(given) and any((here / folder / given).is_dir() for folder in _BOTH):
        return project_files(here, given)
    raise UserError(
        f"'{shown(given)}': no subject; give results/<subject>, or a subject's name in the "
        "project's folder"
    )


_BOTH = (WORK, RESULTS)


def project_files(root: Path, name: str) -> SubjectFiles:
    """The table of a subject of a project's folder, of which nothing may be there yet."""
    work, results, scratch = (root / folder / name for folder in (WORK, RESULTS, SCRATCH))
    files = {
        "crop": work / "crop.json", "frames": work / "frames.tsv",
        "landmarks": work / "landmarks.npz", "split": work / "split.json",
        "track": work / "track/track.npz", "landmark_track": work / "track/landmark_track.npz",
        "evaluation": work / "evaluation.npz", "test_video": results / "avatar/test.mp4",
    } | _model_files(results / "avatar/model")  # fmt: skip
    folders = {kind: (work / kind, _PACK) for kind in ("alpha", "parsing")}
    folders |= {
        "images": (work / "frames", _PACK),
        "heads": (root / WORK / "heads", _HEAD),
        "training": (scratch / "train_avatar", _STATE),
    }
    tops = (root / folder for folder in (WORK, RESULTS, SCRATCH))
    return SubjectFiles(name, files, folders, [Path(os.path.realpath(top)) for top in tops])


def _of_avatar(folder: Path) -> SubjectFiles:
    """The table of an avatar without a project."""
    absent = folder / "work"
    names = (
        "crop", "frames", "landmarks", "split", "track", "landmark_track", "evaluation",
        "test_video",
    )  # fmt: skip
    files = dict.fromkeys(names, absent) | _model_files(folder)
    empty = dict.fromkeys(("alpha", "parsing", "images", "heads", "training"), (absent, _PACK))
    name = folder.parents[1].name if folder.name == "model" else folder.name
    if not _NAME.fullmatch(name):
        name = "avatar"
    return SubjectFiles(name, files, empty, [Path(os.path.realpath(folder))])


def _model_files(folder: Path) -> dict[str, Path]:
    return {f"model/{name}": folder / name for name in AVATAR_FILES}
