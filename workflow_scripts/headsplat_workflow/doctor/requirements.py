"""Doctor checks of what the configured subjects need: Snakemake, assets, memory, disk space."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import distributions, version
from pathlib import Path

from headsplat_workflow.assets.check import RECORD
from headsplat_workflow.assets.needs import Need, problem
from headsplat_workflow.assets.verify import HashRecord
from headsplat_workflow.clip_length import clip_seconds
from headsplat_workflow.resources import machine_memory_mb, memory_mb, probed_frames
from headsplat_workflow.snakemake_patches import require_version
from headsplat_workflow.stages import STAGES, stages_of
from headsplat_workflow.subjects import Subject, Subjects

from headsplat.doctor.finding import Finding, fails, ok, warning
from headsplat.runtime.errors import UserError
from headsplat.runtime.memory import memory_limit_mib
from headsplat.video.timeline import FPS

# Disk use of a subject with a video, MiB: per clip, and per 1,000 frames.
_PER_CLIP = 200
_PER_1000 = sum(stage.need.disk[1] for stage in stages_of(Subject("")))
# Memory of a job without frames, the least that any job requests.
_LEAST_MB = memory_mb("", 0)
_PLUGIN = "snakemake-"


def check_snakemake() -> Iterator[Finding]:
    """Check that the version is supported; list the plugins."""
    plugins = sorted(
        f"{name.removeprefix(_PLUGIN)} {found.version}"
        for found in distributions()
        if (name := found.metadata["Name"] or "").startswith(_PLUGIN) and "-plugin-" in name
    )
    says = ", ".join(plugins) or "none"
    try:
        require_version(version("snakemake"))
    except UserError as error:
        yield fails("Snakemake", str(error), "install requirements.lock again")
    else:
        yield ok("Snakemake", f"{version('snakemake')}; plugins: {says}")


def check_subjects(subjects: Subjects) -> Iterator[Finding]:
    """Report the rows of the subject table that cannot be used; the others still run."""
    worse = warning if subjects else fails
    for name, line in subjects.refused.items():
        yield worse(f"subject {name}", line, f"correct {subjects.table}")
    if subjects:
        yield ok("subjects", f"{len(subjects)} rows of {subjects.table} can be used")


def check_files(needs: Sequence[Need], record_path: Path = RECORD) -> Iterator[Finding]:
    """Report assets that are missing but required, or whose content is wrong."""
    record = HashRecord(record_path)
    good, absent = 0, 0
    for need in needs:
        trouble = problem(need, record)
        if trouble is not None:
            says, _, fix = trouble.partition("; ")
            yield fails(f"asset {need.key}", f"{need.path}: {says}", fix or "fetch it again")
        elif need.found:
            good += 1
        else:
            absent += 1
    record.save()
    yield ok("assets", f"{good} present; {absent} optional ones absent (assets_check lists them)")


def check_memory(frames: float, proc: Path = Path("/proc/self")) -> Iterator[Finding]:
    """Compare this machine's memory with the request of the largest stage.

    Args:
        frames: of the longest clip.
        proc: folder that lists the process's control groups.
    """
    limit = memory_limit_mib(proc)
    total = machine_memory_mb(limit)
    by = "" if limit is None else f" (control group: {limit} MiB)"
    stage = max(STAGES, key=lambda name: memory_mb(name, frames))
    need = memory_mb(stage, frames)
    says = f"{total} MB{by}; the largest, {stage}, requests {need} MB"
    if total < _LEAST_MB:
        yield fails("memory for jobs", says, f"rent or request at least {2 * _LEAST_MB} MB")
    elif total < need:
        fix = "shorten the clip, or rent or request more memory"
        yield warning("memory for jobs", says, fix)
    else:
        yield ok("memory for jobs", says)


def clip_frames(subjects: Mapping[str, Subject], builtin_seconds: float) -> list[float]:
    """Frames of each subject's clip: as probed, else estimated from its files."""
    frames: list[float] = []
    for name, subject in subjects.items():
        probed = probed_frames(Path("work", name, "video.json"))
        frames.append(clip_seconds(subject, builtin_seconds) * FPS if probed is None else probed)
    return frames


def needed_mib(frames: list[float]) -> float:
    """Upper estimate of the disk space that these clips use, MiB."""
    return sum(_PER_CLIP + _PER_1000 * count / 1000 for count in frames)
