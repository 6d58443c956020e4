"""A workflow of seconds whose run is told on the console as the real one's."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import PYTHON_PATH

SNAKEFILE = f"""
import sys
sys.path[:0] = {PYTHON_PATH!r}.split(":")
from headsplat_workflow import console, progress
from headsplat_workflow.run_report import RunReport
progress.TERMINAL_EVERY = progress.FILE_EVERY = 0.2
CONSOLE = console.install(workflow.output_settings)
TOLD = []
onstart:
    if CONSOLE:
        CONSOLE.begun = True
    TOLD.append(RunReport(workflow, CONSOLE, lambda subject: 100))
    TOLD[0].begin(log)
onsuccess:
    TOLD[0].end(False, ())
onerror:
    TOLD[0].end(False, ())
"""
SUBJECTS = """
rule all:
    input: expand("results/{subject}/report.html", subject=["anna", "ben", "carl"])
rule detect_chunk:
    output: "work/{subject}/{chunk}"
    log: "logs/{subject}/detect_chunk/{chunk}.log"
    shell: "echo '12:00:00 detect 1/10  0.1/s  90 s left' > {log}; sleep 0.4; touch {output}"
rule write_report:
    input: "work/{subject}/000", "work/{subject}/001"
    output: "results/{subject}/report.html"
    log: "logs/{subject}/write_report.log"
    retries: 1
    shell:
        "if [ {wildcards.subject} = ben ]; then"
        " printf 'error: no \\033[31mface; take another\\n' > {log}; exit 1; fi;"
        " if [ {wildcards.subject} = carl ]; then kill -9 $$; fi; touch {output}"
"""


def write(folder: Path, rules: str = SUBJECTS) -> None:
    """A workflow of these rules in a folder."""
    (folder / "Snakefile").write_text(SNAKEFILE + rules)


def command(*arguments: str) -> list[str]:
    """What runs it."""
    return [sys.executable, "-m", "snakemake", "--cores", "2", "--keep-going", *arguments]


def environment(folder: Path) -> dict[str, str]:
    """Of that command: Snakemake's cache is not the user's."""
    return {**os.environ, "XDG_CACHE_HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it with its console in a pipe."""
    return subprocess.run(
        command(*arguments), cwd=folder, env=environment(folder),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
