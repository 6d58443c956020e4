"""What the subjects of a table ask of this machine: assets, memory, disk space, Snakemake."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import distributions, version
from pathlib import Path

from headsplat_workflow.assets.check import RECORD
from headsplat_workflow.assets.needs import Need, problem
from headsplat_workflow.assets.verify import HashRecord
from headsplat_workflow.config import BUILTIN_VIDEO, Subjects
from headsplat_workflow.resources import (
    NEEDS,
    frames_by_size,
    machine_memory_mb,
    memory_mb,
    probed_frames,
)

from headsplat.doctor.finding import Finding, fails, ok, warning
from headsplat.runtime.errors import UserError
from headsplat.runtime.memory import memory_limit_mib

FPS = 25
# Opening a video costs milliseconds; of long tables only so many are opened, the rest go by size.
_OPENED = 100
# What is made for every subject, MiB: of a clip, and for every 1,000 frames of it.
_NOT_ALWAYS = ("import_", "export_vhap", "export_imavatar")
_PER_CLIP = 200
_LEAST_BYTES = 64  # of an image in a video; a length that needs less is not true
_PER_1000 = sum(need.disk[1] for name, need in NEEDS.items() if not name.startswith(_NOT_ALWAYS))


# Below this not even a job without frames gets through.
_LEAST_MB = memory_mb("", 0)
_PLUGIN = "snakemake-"


def check_snakemake() -> Iterator[Finding]:
    """Its version and plugins; the rules themselves state the oldest version they run with."""
    plugins = sorted(
        f"{name.removeprefix(_PLUGIN)} {found.version}"
        for found in distributions()
        if (name := found.metadata["Name"] or "").startswith(_PLUGIN) and "-plugin-" in name
    )
    says = ", ".join(plugins) or "none"
    yield ok("Snakemake", f"{version('snakemake')}; plugins: {says}")


def check_subjects(subjects: Subjects) -> Iterator[Finding]:
    """Each can be used; a run goes on without those that cannot."""
    worse = warning if subjects else fails
    for name, line in subjects.refused.items():
        yield worse(f"subject {name}", line, f"correct {subjects.table}")
    if subjects:
        yield ok("subjects", f"{len(subjects)} rows of {subjects.table} can be used")


def check_files(needs: Sequence[Need], record_path: Path = RECORD) -> Iterator[Finding]:
    """Required ones are there, and none is another file than its name says."""
    record = HashRecord(record_path)
    good, absent = 0, 0
    for need in needs:
        trouble = problem(need, record)
        if trouble is not None:
            says, _, cure = trouble.partition("; ")
            yield fails(f"asset {need.key}", f"{need.path}: {says}", cure or "fetch it again")
        elif need.found:
            good += 1
        else:
            absent += 1
    record.save()
    yield ok("assets", f"{good} present; {absent} optional ones absent (assets_check lists them)")


def check_memory(frames: float, proc: Path = Path("/proc/self")) -> Iterator[Finding]:
    """Memory of this machine against what the largest stage asks for.

    Args:
        frames: of the longest clip.
        proc: where the process's control groups are read.
    """
    limit = memory_limit_mib(proc)
    total = machine_memory_mb(limit)
    by = "" if limit is None else f" (control group: {limit} MiB)"
    stage = max(NEEDS, key=lambda name: memory_mb(name, frames))
    need = memory_mb(stage, frames)
    says = f"{total} MB{by}; the largest, {stage}, asks for {need} MB"
    if total < _LEAST_MB:
        yield fails("memory for jobs", says, f"rent or request at least {2 * _LEAST_MB} MB")
    elif total < need:
        cure = "shorten the clip, or rent or request more memory"
        yield warning("memory for jobs", says, cure)
    else:
        yield ok("memory for jobs", says)


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
    import av  # late: where it does not load, the check of the libraries says so

    from headsplat.video.container import open_media

    try:
        with open_media(path) as file:
            claimed = (file.duration or 0) / av.time_base * FPS
            return min(claimed, path.stat().st_size / _LEAST_BYTES)
    except (UserError, OSError):
        return 0


def needed_mib(frames: list[float]) -> float:
    """MiB that the stages of these clips write, generously."""
    return sum(_PER_CLIP + _PER_1000 * count / 1000 for count in frames)
