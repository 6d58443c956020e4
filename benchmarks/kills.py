"""What SIGKILL costs: work lost at random moments, time to go on, and what orchestration takes.

    python benchmarks/kills.py                                  # the built-in subject
    python benchmarks/kills.py --video me.mp4 --head ict --assets assets --train-steps 200

What all subjects share, head model and compiled operators, is made before. A quiet run of the
subject comes first: its stages' times, and the share of its wall time in which no stage runs, are
the measure. Then the same command is killed at random moments, all of the run at
once as a spot interruption does, and started again, until all kills are made and the run has ended.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "workflow_scripts")]

from benchmarks.demo import PARTS  # noqa: E402
from benchmarks.rasterizer import machine  # noqa: E402
from headsplat.runtime.files import write_json  # noqa: E402
from headsplat.runtime.scratch import KEY_FILE  # noqa: E402

SUBJECT = "subject"
SEED = 0
KILLS = 20
KILLS_PER_RUN = 6  # in the time of a quiet run, on average
SIGTERM_BIT = 1 << (signal.SIGTERM - 1)


@dataclass(frozen=True)
class Loss:
    """What one kill took from one running job.

    Attributes:
        rule: the job's rule.
        seconds: of its work that the next run does again.
        share: of the rule's time over all jobs of the subject, in the quiet run.
    """

    rule: str
    seconds: float
    share: float


@dataclass(frozen=True)
class Job:
    """A finished job of Snakemake's records; times are seconds since the epoch."""

    rule: str
    start: float
    end: float


class Run:
    """A copy of the workflow with one subject, and the command that makes all of it."""

    def __init__(self, folder: Path, arguments: argparse.Namespace) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir()
        for part in PARTS:
            copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
            copy(ROOT / part, self.folder / part)
        if arguments.assets:
            (self.folder / "assets").symlink_to(arguments.assets.resolve())
        video = "builtin" if arguments.video is None else arguments.video.resolve()
        table = f"subject\tvideo\thead\tpreset\n{SUBJECT}\t{video}\t{arguments.head}\tkills\n"
        (self.folder / "config/subjects.tsv").write_text(table)
        config = yaml.safe_load((self.folder / "config/config.yaml").read_text())
        preset = config["presets"]["preview"] | {"chunks": arguments.chunks}
        if arguments.train_steps:
            preset["train"] = preset["train"] | {"steps": arguments.train_steps}
        (self.folder / "kills.yaml").write_text(yaml.safe_dump({"presets": {"kills": preset}}))
        self.command = [sys.executable, "-m", "snakemake", "--configfile", "kills.yaml"]
        self.command += ["--cores", str(arguments.cores)]
        shared = [f"work/heads/{arguments.head}.npz", "work/cuda_ext/build.json"]
        shared += ["work/builtin/demo.mp4"] if arguments.video is None else []
        with open(self.folder / "run.log", "wb") as log:
            subprocess.run(
                [*self.command, *shared], cwd=self.folder, stdout=log, stderr=log, check=True
            )

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command in a session of its own; what it says goes to `run.log`."""
        with open(self.folder / "run.log", "ab") as log:
            return subprocess.Popen(
                self.command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )

    def stages(self) -> Iterator[tuple[int, str]]:
        """Process id and rule of the running stages."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                words = (entry / "cmdline").read_bytes().decode().split("\0")
                inside = os.readlink(entry / "cwd") == str(self.folder)
            except OSError:  # gone meanwhile
                continue
            script = next((w for w in words if w.startswith("workflow_scripts/")), None)
            if inside and script:
                yield int(entry.name), Path(script).stem

    def jobs(self) -> list[Job]:
        """All finished jobs of the subject, by Snakemake's records."""
        found = {}
        for path in (self.folder / ".snakemake/metadata").rglob("*"):
            if path.is_file():  # one for each output
                record = json.loads(path.read_text())
                job = Job(record["rule"], record["starttime"], record["endtime"])
                if any(f"/{SUBJECT}/" in log for log in record["log"]):
                    found[job.rule, *record["log"]] = job
        return sorted(found.values(), key=lambda job: job.start)

    def last_saved(self, rule: str) -> float:
        """When a sequential stage last saved its state or a part; 0 if it has none."""
        last = 0.0
        for path in (self.folder / "scratch" / SUBJECT / rule).rglob("*.*"):
            # Neither the key, which is written at the start, nor what is still being written.
            if path.name != KEY_FILE and not path.name.startswith("."):
                with suppress(FileNotFoundError):  # renamed meanwhile
                    last = max(last, path.stat().st_mtime)
        return last


def working(pid: int) -> bool:
    """Whether a stage has loaded its libraries: it then listens to SIGTERM."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) & SIGTERM_BIT)


def age(pid: int) -> float:
    """Seconds since a process started."""
    started = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return uptime - started / os.sysconf("SC_CLK_TCK")


def idle_share(jobs: list[Job], start: float, end: float) -> float:
    """Share of the time between `start` and `end` in which no job ran."""
    busy, reached = 0.0, start
    for job in sorted(jobs, key=lambda job: job.start):
        busy += max(0.0, job.end - max(job.start, reached))
        reached = max(reached, job.end)
    return 1 - busy / (end - start)


def first_work(run: Run, process: subprocess.Popen[bytes]) -> float | None:
    """Seconds from now until a stage works; None if the run ended before."""
    start = time.monotonic()
    while process.poll() is None:
        if any(working(pid) for pid, _ in run.stages()):
            return time.monotonic() - start
        time.sleep(0.02)
    return None


def losses(run: Run, totals: dict[str, float]) -> list[Loss]:
    """What a kill now takes from each running job."""
    found = []
    for pid, rule in run.stages():
        try:
            seconds = age(pid)
        except OSError:  # it ended meanwhile
            continue
        seconds = min(seconds, time.time() - run.last_saved(rule))
        found.append(Loss(rule, seconds, min(1.0, seconds / totals[rule])))
    return found


def largest_share(kill: list[Loss]) -> float:
    """Largest share of a stage that one kill took, over all jobs of the stage."""
    shares: dict[str, float] = {}
    for loss in kill:
        shares[loss.rule] = shares.get(loss.rule, 0.0) + loss.share
    return max(shares.values(), default=0.0)


def kill_and_go_on(run: Run, quiet: float, totals: dict[str, float]) -> dict[str, Any]:
    """Make all kills and finish; the losses of each, and the seconds until each restart worked."""
    draw = random.Random(SEED)
    kills: list[list[Loss]] = []
    starts: list[float] = []
    while True:
        process = run.start()
        seconds = first_work(run, process)
        if seconds is not None:
            starts.append(seconds)
        moment = time.monotonic() + draw.expovariate(KILLS_PER_RUN / quiet)
        while process.poll() is None and (len(kills) == KILLS or time.monotonic() < moment):
            time.sleep(0.02)
        if process.poll() is None:
            kills.append(losses(run, totals))
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        elif process.returncode:
            sys.exit((run.folder / "run.log").read_text()[-3000:])
        elif len(kills) == KILLS:
            return {"kills": kills, "starts": starts[1:]}
        else:
            for name in ("work", "results", "logs"):
                shutil.rmtree(run.folder / name / SUBJECT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", type=Path, help="a video; without it the built-in one")
    parser.add_argument("--head", default="procedural", help="head model")
    parser.add_argument("--assets", type=Path, help="folder of foreign files, for other heads")
    parser.add_argument("--chunks", type=int, default=16)
    parser.add_argument("--train-steps", type=int, help="the preview preset's without it")
    parser.add_argument("--cores", type=int, default=2)
    arguments = parser.parse_args()
    name = "built-in" if arguments.video is None else arguments.video.name
    with tempfile.TemporaryDirectory() as folder:
        first = Run(Path(folder) / "quiet", arguments)
        start = time.time()
        process = first.start()
        if process.wait():
            sys.exit((first.folder / "run.log").read_text()[-3000:])
        end = time.time()
        jobs = first.jobs()
        totals: dict[str, float] = {}
        for job in jobs:
            totals[job.rule] = totals.get(job.rule, 0.0) + job.end - job.start
        result = kill_and_go_on(Run(Path(folder) / "killed", arguments), end - start, totals)

    each = [largest_share(kill) for kill in result["kills"]]
    lost = [sum(loss.seconds for loss in kill) for kill in result["kills"]]
    idle = idle_share(jobs, start, end)
    values = [
        ("work lost to SIGKILL, largest share of a running stage, mean of 20", 100 * mean(each),
         "% of the stage", 5),
        ("the same, median", 100 * median(each), "% of the stage", 5),
        ("the same, worst", 100 * max(each), "% of the stage", None),
        ("work lost to SIGKILL, all running jobs, mean", mean(lost), "s", None),
        ("the same, of all stages", 100 * mean(lost) / sum(totals.values()), "% of their time",
         None),
        ("restart to the first stage at work, median", median(result["starts"]), "s", 10),
        ("the same, worst", max(result["starts"]), "s", None),
        ("time in which no stage runs, of the quiet run", 100 * idle, "% of wall time", 10),
        ("quiet run", end - start, "s", None),
    ]  # fmt: skip
    here = machine()
    rows = [
        {"what": f"{name}: {what}", "value": round(value, 3), "unit": unit, "target": target,
         "machine": here}
        for what, value, unit, target in values
    ]  # fmt: skip
    rows.append(
        {"what": f"{name}: each kill", "value": [vars(loss) for k in result["kills"] for loss in k]}
    )
    for row in rows[:-1]:
        print(f"{row['what']:<90} {row['value']:>10} {row['unit']}")
    path = ROOT / "benchmarks/results/kills.json"
    kept = json.loads(path.read_text()) if path.exists() else []
    write_json(path, [row for row in kept if not row["what"].startswith(f"{name}:")] + rows)


if __name__ == "__main__":
    main()
