"""The state of a subject, read from its files and logs alone; nothing is planned."""

import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from headsplat_workflow import job_logs
from headsplat_workflow.stages import Stage, stages_of
from headsplat_workflow.subjects import Subject

# A running stage writes to its log at least this often; images that take longer are rare.
FRESH = 90.0  # seconds
DONE, FAILED, RUNNING, PARTLY, NEW = "done", "failed", "running", "partly done", "not started"


@dataclass
class StageState:
    """How far one stage of a subject is.

    Attributes:
        done: jobs whose file is there, of `total`.
        running: the last lines of jobs that run now.
        failures: log and reason of the jobs that failed.
        left: the last line of a job that was killed or told to stop, where there is one.
    """

    rule: str
    done: int
    total: int
    running: list[str] = field(default_factory=list)
    failures: list[tuple[Path, str]] = field(default_factory=list)
    left: str = ""


@dataclass
class SubjectState:
    """How far a subject is.

    Attributes:
        stages: in the order of the workflow.
        psnr: of held-out frames over the head, in dB, once evaluated.
        sizes: bytes in `work/`, `scratch/` and its avatar.
    """

    subject: str
    stages: list[StageState]
    psnr: float | None
    sizes: dict[str, int]

    @property
    def state(self) -> str:
        """One word or two."""
        if any(stage.failures for stage in self.stages):
            return FAILED
        if any(stage.running for stage in self.stages):
            return RUNNING
        if all(stage.done == stage.total for stage in self.stages):
            return DONE
        return PARTLY if any(stage.done or stage.left for stage in self.stages) else NEW


def read_subject(subject: Subject, chunks: int, active: bool) -> SubjectState:
    """Read one subject's state in the working folder.

    Args:
        subject: its row.
        chunks: how many its chunked stages have.
        active: whether a run holds this folder's lock on this machine; then what has a log and
            no file yet runs.
    """
    name = subject.name
    stages = [_read_stage(stage, name, chunks, active) for stage in stages_of(subject)]
    sizes = {
        "work": size_of(Path("work", name)),
        "scratch": size_of(Path("scratch", name)),
        "avatar": size_of(Path("results", name, "avatar")),
    }
    return SubjectState(name, stages, held_out_psnr(name), sizes)


def _read_stage(stage: Stage, subject: str, chunks: int, active: bool) -> StageState:
    outputs = stage.outputs(subject, chunks)
    missing = [k for k, path in enumerate(outputs) if not os.path.exists(path)]
    state = StageState(stage.rule, len(outputs) - len(missing), len(outputs))
    all_logs = stage.logs(subject, chunks) if missing else []
    for log in (all_logs[k] for k in missing):
        try:
            age = time.time() - log.stat().st_mtime
        except OSError:
            continue
        lines = job_logs.tail(log)
        reason = job_logs.failure(lines)
        last = lines[-1] if lines else "started"
        if reason is not None:
            state.failures.append((log, reason))
        elif not job_logs.stopped(lines) and (active or age < FRESH):
            state.running.append(last)
        else:
            state.left = last
    return state


def held_out_psnr(subject: str) -> float | None:
    """PSNR over the head, dB, of the last evaluation; None where there is none to be read."""
    try:
        return float(
            json.loads(Path("results", subject, "avatar/metrics.json").read_text())["psnr_head"]
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; 0 where there is none."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    total += size_of(Path(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    except OSError:  # none there, or gone meanwhile
        return total
    return total


def run_is_active(lock: Path = Path(".snakemake/run.lock")) -> bool:
    """Whether a run on this machine holds the folder's lock; it is not touched."""
    try:
        status = lock.stat()
        held = Path("/proc/locks").read_text().splitlines()
    except OSError:
        return False
    # "1: FLOCK ADVISORY WRITE 4242 fe:01:131137 0 EOF"; devices are hexadecimal there.
    name = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    return any(name in line.split() for line in held)
