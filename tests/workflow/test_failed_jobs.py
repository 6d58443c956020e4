"""A job that failed with new parameters runs again, even where results of the old ones stand."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import PYTHON_PATH

SNAKEFILE = f"""
import sys
sys.path[:0] = {PYTHON_PATH!r}.split(":")
from headsplat_workflow import failed_jobs
failed_jobs.install()

rule last:
    input: "first.txt"
    output: "last.txt"
    shell: "cp {{input}} {{output}}"

rule first:
    output: "first.txt"
    params: number=config["number"]
    shell: "echo {{params.number}} > {{output}}; test ! -e broken"
"""


def test_results_of_older_parameters_do_not_pass_for_current(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(SNAKEFILE)

    def run(number: int) -> int:
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "all"]
        command += ["--config", f"number={number}"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).returncode

    assert run(1) == 0
    (tmp_path / "broken").touch()
    assert run(2) != 0
    assert not (tmp_path / "first.txt").exists()
    (tmp_path / "broken").unlink()
    assert run(2) == 0
    assert (tmp_path / "last.txt").read_text() == "2\n"
