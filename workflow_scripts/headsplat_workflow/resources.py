"""What a stage's job asks of its machine: memory, minutes and disk, by its frames and its attempt.

The figures are about twice what was measured on two cores at 512 px, so that a batch system neither
kills a job nor keeps a node empty. A job that failed may have run out of one of them, so each
attempt asks for more of the host, and training for less of its GPU.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from headsplat.runtime.control_group import memory_limit_mib

# Of a machine's memory, what Snakemake itself and the system keep, MiB.
_KEPT_MIB = 700
# A talking head at 25 fps and 1 Mbit/s, about the least that is used: a frame never takes fewer.
_FRAME_BYTES = 5000
# `n_frames` stands before the long lists of a video.json.
_HEADER_BYTES = 4096


@dataclass(frozen=True)
class Need:
    """Of a job without frames, and more for every 1,000 frames.

    Attributes:
        mem: memory, MiB: of the process, and per 1,000 frames.
        minutes: run time.
        disk: what it writes, MiB.
    """

    mem: tuple[int, int] = (1500, 0)
    minutes: tuple[int, int] = (10, 0)
    disk: tuple[int, int] = (100, 0)


NEEDS = {
    "build_cuda_ext": Need(mem=(3000, 0), minutes=(20, 0), disk=(1000, 0)),
    "import_ict_head": Need(mem=(3000, 0), minutes=(15, 0), disk=(500, 0)),
    "import_flame_head": Need(mem=(2000, 0)),
    "fetch_assets": Need(mem=(1000, 0), minutes=(60, 0), disk=(2000, 0)),
    "render_builtin": Need(mem=(2000, 0), minutes=(5, 30)),
    "probe_video": Need(mem=(500, 0), minutes=(5, 3)),
    "detect_chunk": Need(mem=(1000, 0), minutes=(5, 10), disk=(20, 20)),
    "crop_chunk": Need(mem=(1000, 0), minutes=(5, 10), disk=(20, 120)),
    "solve_crop": Need(mem=(500, 50), minutes=(5, 2), disk=(20, 20)),
    "solve_identity": Need(mem=(3000, 0), minutes=(15, 0)),
    "import_track": Need(mem=(2000, 100), minutes=(10, 10), disk=(50, 30)),
    "import_frames_chunk": Need(mem=(1000, 0), minutes=(5, 10), disk=(20, 120)),
    "import_alpha_chunk": Need(mem=(1000, 0), minutes=(5, 10), disk=(20, 60)),
    "import_parsing_chunk": Need(mem=(1000, 0), minutes=(5, 10), disk=(20, 60)),
    # On a CPU a network takes about a second a frame, MediaPipe and geometry a tenth.
    "matte_chunk": Need(mem=(2500, 0), minutes=(10, 60), disk=(20, 60)),
    "parse_chunk": Need(mem=(2500, 0), minutes=(10, 60), disk=(20, 60)),
    "track_head": Need(mem=(1500, 100), minutes=(20, 10), disk=(50, 30)),
    # Half a second a frame on a CPU, hundredths on a GPU; frames are refined window by window.
    "refine_track": Need(mem=(2500, 100), minutes=(20, 60), disk=(50, 30)),
    "export_frames": Need(mem=(500, 50), minutes=(5, 2), disk=(20, 20)),
    "overlay_track": Need(mem=(1000, 50), minutes=(5, 10), disk=(50, 100)),
    "split_frames": Need(mem=(500, 10), minutes=(5, 0), disk=(10, 1)),
    "export_dataset": Need(mem=(500, 50), minutes=(5, 10), disk=(50, 800)),
    # On a CPU; a GPU needs seconds to minutes. Decoded images are kept up to --cache-mib.
    "train_avatar": Need(mem=(3500, 100), minutes=(240, 10), disk=(200, 0)),
    "import_avatar": Need(mem=(2000, 20), minutes=(5, 0)),
    "evaluate_avatar": Need(mem=(2000, 100), minutes=(10, 30), disk=(50, 100)),
    "write_report": Need(mem=(1000, 50)),
    "drive_avatar": Need(mem=(2000, 100), minutes=(10, 30), disk=(50, 100)),
    "export_vhap": Need(mem=(1000, 50), minutes=(5, 20), disk=(50, 1000)),
    "export_imavatar": Need(mem=(1000, 50), minutes=(5, 20), disk=(50, 1000)),
    "export_ply": Need(mem=(2000, 20)),
}


def _of(pair: tuple[int, int], frames: float) -> float:
    return pair[0] + pair[1] * frames / 1000


def memory_mb(stage: str, frames: float, attempt: int = 1) -> int:
    """Megabytes of memory; a retry asks for half as much again of the first, each time."""
    mib = _of(NEEDS.get(stage, Need()).mem, frames)
    return int(mib * 1.048576 * (1 + attempt) / 2)


def minutes(stage: str, frames: float, attempt: int = 1) -> int:
    """Minutes after which the job is surely stuck; twice, three times that for retries."""
    return int(_of(NEEDS.get(stage, Need()).minutes, frames) * attempt)


def disk_mb(stage: str, frames: float) -> int:
    """Megabytes of disk that the job fills."""
    return int(_of(NEEDS.get(stage, Need()).disk, frames) * 1.048576) + 1


def gpu_percent(attempt: int = 1) -> int:
    """Share of the GPU's free memory that images may take: half, a tenth, nothing."""
    return {1: 50, 2: 10}.get(attempt, 0)


def machine_memory_mb(limit_mib: int | None = None) -> int:
    """Megabytes that the jobs of this machine may take together.

    Args:
        limit_mib: of the control group, MiB; None asks the kernel.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 20)
    limit = memory_limit_mib() if limit_mib is None else limit_mib
    total = machine if limit is None else min(machine, limit)
    return int(max(total - _KEPT_MIB, total // 2) * 1.048576)


def probed_frames(info: Path) -> int | None:
    """Frames of a clip by its `video.json`, whose beginning alone is read; None without it.

    A number that no clip has is none: a job that asks for more than any machine has never starts.
    """
    try:
        with open(info, "rb") as file:
            found = re.search(rb'"n_frames":\s*(\d{1,7})\b', file.read(_HEADER_BYTES))
    except OSError:
        return None
    return int(found[1]) if found else None


def frames_by_size(video: Path, longest: int = 30_000) -> int:
    """A generous guess at the frames of a video that was not probed; twenty minutes at most."""
    try:
        return min(video.stat().st_size // _FRAME_BYTES, longest)
    except OSError:
        return 0
