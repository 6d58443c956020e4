"""Read a subject's progress from its output and log files, without planning."""

import fcntl
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from headsplat_workflow import job_logs
from headsplat_workflow.stages import Stage, stages_of
from headsplat_workflow.subjects import Subject

from headsplat.runtime.system import PROC

# A job whose log is younger than this counts as running.
FRESH = 90.0  # seconds
DONE, FAILED, RUNNING, PARTLY, NEW = "done", "failed", "running", "partly done", "not started"


@dataclass
class StageState:
    """Progress of one stage of a subject.

    Attributes:
        rule: its name.
        done: number of jobs whose output exists.
        total: number of all its jobs.
        running: last log lines of the running jobs.
        failures: log and reason of the failed jobs.
        left: last log line of a job that was killed or stopped, if any.
    """

    rule: str
    done: int
    total: int
    running: list[str] = field(default_factory=list)
    failures: list[tuple[Path, str]] = field(default_factory=list)
    left: str = ""


@dataclass
class SubjectState:
    """Progress of one subject.

    Attributes:
        stages: in workflow order.
        psnr: over the head in held-out frames, dB; None before evaluation.
        sizes: bytes in `work/`, `scratch/` and its avatar.
    """

    subject: str
    stages: list[StageState]
    psnr: float | None
    sizes: dict[str, int]

    @property
    def state(self) -> str:
        """One of FAILED, RUNNING, DONE, PARTLY and NEW."""
        if any(stage.failures for stage in self.stages):
            return FAILED
        if any(stage.running for stage in self.stages):
            return RUNNING
        if all(stage.done == stage.total for stage in self.stages):
            return DONE
        return PARTLY if any(stage.done or stage.left for stage in self.stages) else NEW


def read_subject(subject: Subject, chunks: int, active: bool) -> SubjectState:
    """Read one subject's progress from the working folder.

    Args:
        subject: its row in the subject table.
        chunks: number of its chunks.
        active: whether a run on this machine holds the folder's lock; then a job with a log and
            without output counts as running.
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
    """PSNR over the head in held-out frames, dB, of the last evaluation; None if unavailable."""
    try:
        return float(
            json.loads(Path("results", subject, "avatar/metrics.json").read_text())["psnr_head"]
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; 0 if it does not exist."""
    total = 0
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    total += size_of(Path(entry.path))
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    except OSError:  # missing, or deleted meanwhile
        return total
    return total


def run_is_active(lock: Path = Path(".snakemake/run.lock")) -> bool:
    """Whether a run on this machine holds the folder's lock; on Linux the lock is not taken."""
    try:
        status = lock.stat()
        held = (PROC / "locks").read_text().splitlines()
    except OSError:
        return not PROC.exists() and _is_locked(lock)
    # "1: FLOCK ADVISORY WRITE 4242 fe:01:131137 0 EOF"; devices are hexadecimal there.
    name = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    return any(name in line.split() for line in held)


def _is_locked(lock: Path) -> bool:
    """Whether another process holds a lock; takes and releases a shared one to find out."""
    try:
        with open(lock) as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    return False
