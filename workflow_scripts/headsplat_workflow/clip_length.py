"""How long a subject's clip is about, before anything ran, and how many chunks that makes.

Told by files of the user's alone, not by the machine nor by what earlier runs left: so a finished
subject is planned alike everywhere. A video that changes reruns its chunks in any case.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from headsplat_workflow.config import BUILTIN_VIDEO
from headsplat_workflow.resources import frames_by_size
from headsplat_workflow.user_files import folders_in

from headsplat.frames.chunks import chunks_of
from headsplat.video.duration import stated_seconds
from headsplat.video.timeline import FPS

AUTO = "auto"


def clip_seconds(row: Mapping[str, str], builtin: float) -> float:
    """Seconds of a subject's clip, by its video's header or size, or by an import's files.

    Args:
        row: of the table of subjects, as `headsplat_workflow.config.read_subjects` gives it.
        builtin: seconds of the built-in clip.
    """
    if row.get("kind"):
        named = [path for path in (row["folder"], row["video"]) if path]
        folders = [*named, *(inner for path in named for inner in folders_in(path))]
        return max(map(_files_in, folders)) / FPS
    if row["video"] == BUILTIN_VIDEO:
        return builtin
    video = Path(row["video"])
    return stated_seconds(video) or frames_by_size(video) / FPS


def chunk_count(setting: int | str, seconds: float) -> int:
    """Number of a subject's chunks: the option `chunks`, or by the clip's length where it says so.

    Args:
        setting: the option's value, a number or "auto".
        seconds: of the clip.
    """
    return chunks_of(seconds) if setting == AUTO else int(setting)


def _files_in(folder: str) -> int:
    try:
        return sum(1 for _ in os.scandir(folder))
    except OSError:
        return 0
