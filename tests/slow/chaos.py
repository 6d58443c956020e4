"""Killing parts of a run at random moments, and telling whether two runs left the same."""

import html
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headsplat.evaluate.report.step_time import TITLE as STEP_TIME
from headsplat.runtime.files import read_json
from tests.conftest import ROOT

# What a stage writes of its own speed and of the machine; everything else must be equal.
TIMED = {"fps_batched", "fps_single", "seconds", "images_per_second", "profile"}
TIMED_SECTIONS = ("What each stage cost", html.escape(STEP_TIME))
TIMED_TILES = ("frames/s, batched", "frames/s, single", "training")
TRACE = "trace.json.gz"  # durations of operators and nothing else
TEMPORARY = re.compile(r"\..*\.tmp(\..*)?")
GONE_WITHIN = 30.0  # seconds; a stage notices that it is alone when its libraries are loaded


@dataclass(frozen=True)
class Process:
    """A process of a run: what it is to the run, and its name for messages."""

    pid: int
    kind: str  # snakemake, stage or worker
    name: str


def processes(folder: Path) -> list[Process]:
    """All processes that belong to a run in `folder`: those that work there."""
    found, parents = {}, {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if os.readlink(entry / "cwd") != str(folder):
                continue
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:  # gone meanwhile
            continue
        if state != "Z":
            found[int(entry.name)], parents[int(entry.name)] = words, int(parent)

    result = []
    for pid, words in found.items():
        above = parents[pid]
        script = next((w for w in words if w.startswith("workflow_scripts/")), None)
        name = Path(script).stem if script else words[0]
        if above not in found:
            result.append(Process(pid, "snakemake", "snakemake"))
        else:
            result.append(Process(pid, "worker" if parents[above] in found else "stage", name))
    return result


def leftovers(folder: Path) -> list[str]:
    """Temporary files of writers that were killed."""
    places = (folder / name for name in ("work", "results", "scratch"))
    files = (path for place in places for path in place.rglob(".*"))
    return sorted(str(path) for path in files if TEMPORARY.fullmatch(path.name))


@dataclass
class Chaos:
    """A run that is started again and again, and killed in between.

    Moments follow a Poisson process, so none is likelier than another; each kill is noted.
    """

    folder: Path
    command: list[str]
    seed: int
    mean_seconds: float
    kills: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def start(self) -> subprocess.Popen[bytes]:
        """Start the command; what it says goes to `run.log` behind what was said before."""
        with open(self.folder / "run.log", "ab") as log:
            return subprocess.Popen(
                self.command,
                cwd=self.folder,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=environment(),
            )

    def run(self, kills: int) -> bool:
        """Run to the end, or until `kills` kills were made; whether it came to the end.

        Raises:
            AssertionError: the run failed by itself, or a process outlived the run.
        """
        while True:
            run = self.start()
            try:
                killed = self._disturb(run, kills)
            finally:
                if run.poll() is None:
                    run.kill()
                run.wait()
            self._wait_for_the_end_of_all()
            if not killed:
                assert run.returncode == 0, self._said()
                return True
            if len(self.kills) >= kills:
                return False

    def _disturb(self, run: subprocess.Popen[bytes], kills: int) -> bool:
        """Kill something of a run until the run ends or is killed itself; whether it was hit."""
        hit = False
        start = time.monotonic()
        while len(self.kills) < kills:
            moment = time.monotonic() + self._random.expovariate(1 / self.mean_seconds)
            while run.poll() is None and time.monotonic() < moment:
                time.sleep(0.01)
            if run.poll() is not None:
                break
            victim = self._choose()
            if victim is None:
                continue
            try:
                os.kill(victim.pid, signal.SIGKILL)
            except ProcessLookupError:  # it ended by itself meanwhile
                continue
            hit = True
            self.kills.append(f"{time.monotonic() - start:.1f} s after the start: {victim.name}")
            if victim.kind == "snakemake":
                break
        run.wait()
        return hit and run.returncode != 0

    def _choose(self) -> Process | None:
        there = processes(self.folder)
        kinds = sorted({process.kind for process in there})
        if not kinds:
            return None
        kind = self._random.choice(kinds)
        return self._random.choice([process for process in there if process.kind == kind])

    def _wait_for_the_end_of_all(self) -> None:
        end = time.monotonic() + GONE_WITHIN
        while processes(self.folder):
            assert time.monotonic() < end, f"outlived the run: {processes(self.folder)}"
            time.sleep(0.05)

    def _said(self) -> str:
        return "\n".join(self.kills) + "\n" + (self.folder / "run.log").read_text()[-5000:]


def command() -> list[str]:
    """The command of the tiny built-in subject."""
    snakemake = [sys.executable, "-m", "snakemake", "--configfile", "tiny.yaml", "--cores", "2"]
    return [*snakemake, "demo"]


def environment() -> dict[str, str]:
    """The environment of runs in copies: they share the compiled operators."""
    return {
        **os.environ,
        "PYTHONDONTWRITEBYTECODE": "1",
        "HEADSPLAT_EXT_DIR": str(ROOT / "work" / "cuda_ext"),
    }


def differences(one: Path, other: Path) -> list[str]:
    """Files of two finished runs that differ, durations and speeds apart."""
    names = [{str(path.relative_to(folder)) for path in outputs(folder)} for folder in (one, other)]
    found = [f"only in one: {name}" for name in sorted(names[0] ^ names[1])]
    for name in sorted(names[0] & names[1]):
        if content(one / name) != content(other / name):
            found.append(f"differs: {name}")
    return found


def outputs(folder: Path) -> list[Path]:
    """All files that stages of a run left."""
    places = (folder / name for name in ("work", "results", "scratch"))
    return [path for place in places for path in place.rglob("*") if path.is_file()]


def content(path: Path) -> Any:
    """A file's bytes; of those that tell how long something took, the rest."""
    if path.name == TRACE:
        return None
    if path.name in ("metrics.json", "avatar.json", "training.json"):
        return _untimed(read_json(path))
    if path.name == "report.html":
        return _untimed_page(path.read_text())
    return path.read_bytes()


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _untimed(item) for key, item in value.items() if key not in TIMED}
    return value


def _untimed_page(text: str) -> list[str]:
    """The sections of a report, without those of costs, and without training's time and speed."""
    sections = [part for part in text.split("<h2>") if not part.startswith(TIMED_SECTIONS)]
    for tile in TIMED_TILES:
        sections = [re.sub(rf"<b>[^<]*</b>(?=<span>{re.escape(tile)})", "", s) for s in sections]
    return [re.sub(r"images in \d+ s \(\d+ images/s\)", "", section) for section in sections]
