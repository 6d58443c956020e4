"""Estimate a subject's clip length before probing, and choose its number of chunks.

Both depend on the user's files only, not on the machine or on earlier runs, so that a finished
subject is planned alike everywhere.
"""

import math
import os
from pathlib import Path

from headsplat_workflow.resources import frames_by_size
from headsplat_workflow.subjects import Subject
from headsplat_workflow.user_files import folders_in

from headsplat.video.duration import stated_seconds
from headsplat.video.timeline import FPS

AUTO = "auto"
# Seconds of video per chunk, so that work takes much longer than the start of a process.
CHUNK_SECONDS = 4
# At least as many chunks as a laptop has cores, usually at most as many as larger machines have,
# and none longer than a minute: a crash loses at most one chunk per running job.
FEWEST, USUAL, LONGEST, MOST = 4, 16, 60, 999


def clip_seconds(subject: Subject, builtin: float) -> float:
    """Estimate the seconds of a subject's clip from its video's header or size, or its import.

    Args:
        subject: its row.
        builtin: seconds of the built-in clip.
    """
    if subject.imported:
        named = [path for path in (subject.folder, subject.video) if path]
        folders = [*named, *(inner for path in named for inner in folders_in(path))]
        return max(map(_files_in, folders)) / FPS
    if subject.builtin:
        return builtin
    video = Path(subject.video)
    return stated_seconds(video) or frames_by_size(video) / FPS


def chunk_count(setting: int | str, seconds: float) -> int:
    """Choose the number of a subject's chunks.

    Args:
        setting: the option `chunks`: a number, or "auto" for one that follows the clip's length.
        seconds: length of the clip.
    """
    if setting != AUTO:
        return int(setting)
    usual = min(max(round(seconds / CHUNK_SECONDS), FEWEST), USUAL)
    return min(max(usual, math.ceil(seconds / LONGEST)), MOST)


def _files_in(folder: str) -> int:
    try:
        return sum(1 for _ in os.scandir(folder))
    except OSError:
        return 0
