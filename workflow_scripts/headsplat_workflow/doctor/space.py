"""Roughly what the subjects of a table are going to fill."""

from collections.abc import Mapping
from pathlib import Path

import av

from headsplat_workflow.config import BUILTIN_VIDEO
from headsplat_workflow.resources import NEEDS, frames_by_size, probed_frames

from headsplat.runtime.errors import UserError
from headsplat.video.container import open_media

FPS = 25
# Opening a video costs milliseconds; of long tables only so many are opened, the rest go by size.
_OPENED = 100
# What is made for every subject, MiB: of a clip, and for every 1,000 frames of it.
_NOT_ALWAYS = ("import_", "export_vhap", "export_imavatar")
_PER_CLIP = 200
_LEAST_BYTES = 64  # of an image in a video; a length that needs less is not true
_PER_1000 = sum(need.disk[1] for name, need in NEEDS.items() if not name.startswith(_NOT_ALWAYS))


def clip_frames(subjects: Mapping[str, Mapping[str, str]], builtin_seconds: float) -> list[float]:
    """Frames of each subject's clip: as probed, by the video's length, or guessed by its size."""
    frames: list[float] = []
    for number, (name, row) in enumerate(subjects.items()):
        probed = probed_frames(Path("work", name, "video.json"))
        if probed is not None:
            frames.append(probed)
        elif row["video"] == BUILTIN_VIDEO:
            frames.append(builtin_seconds * FPS)
        else:
            path = Path(row["video"]) if row["video"] else Path(row.get("folder", ""))
            frames.append((number < _OPENED and _by_length(path)) or frames_by_size(path))
    return frames


def _by_length(path: Path) -> float:
    try:
        with open_media(path) as file:
            claimed = (file.duration or 0) / av.time_base * FPS
            return min(claimed, path.stat().st_size / _LEAST_BYTES)
    except (UserError, OSError):
        return 0


def needed_mib(frames: list[float]) -> float:
    """MiB that the stages of these clips write, generously."""
    return sum(_PER_CLIP + _PER_1000 * count / 1000 for count in frames)
