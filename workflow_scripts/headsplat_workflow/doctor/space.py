"""Roughly what the subjects of a table are going to fill."""

from collections.abc import Mapping
from pathlib import Path

from headsplat_workflow.clip_length import clip_seconds
from headsplat_workflow.resources import probed_frames
from headsplat_workflow.stages import stages_of

from headsplat.video.timeline import FPS

# What is made for a subject with a video, MiB: of a clip, and for every 1,000 frames of it.
_PER_CLIP = 200
_PER_1000 = sum(stage.need.disk[1] for stage in stages_of({}))


def clip_frames(subjects: Mapping[str, Mapping[str, str]], builtin_seconds: float) -> list[float]:
    """Frames of each subject's clip: as probed, else by what its files say of their length."""
    frames: list[float] = []
    for name, row in subjects.items():
        probed = probed_frames(Path("work", name, "video.json"))
        frames.append(clip_seconds(row, builtin_seconds) * FPS if probed is None else probed)
    return frames


def needed_mib(frames: list[float]) -> float:
    """MiB that the stages of these clips write, generously."""
    return sum(_PER_CLIP + _PER_1000 * count / 1000 for count in frames)
