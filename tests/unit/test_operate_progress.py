"""The line of progress beside a real run of Snakemake."""

import os
import re
import subprocess
import sys

from tests.conftest import PYTHON_PATH

SNAKEFILE = f"""
import sys
sys.path[:0] = {PYTHON_PATH!r}.split(":")
from headsplat_workflow import progress
progress.LOOK_EVERY = progress.FILE_EVERY = 0.2
LINES = []
onstart:
    LINES.append(progress.ProgressThread(workflow))
    LINES[0].start()
onsuccess:
    LINES[0].finish()
rule all:
    input: "b"
rule first:
    output: "a"
    log: "logs/x/first.log"
    benchmark: "logs/x/first.tsv"
    shell: "echo '12:00:00 parts 1/10  0.1/s  600 s left' > {{log}}; sleep 1.5; touch {{output}}"
rule second:
    input: "a"
    output: "b"
    shell: "sleep 1.5; touch {{output}}"
"""


def test_a_run_says_what_its_stages_say_and_what_their_like_took(tmp_path):
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "logs/y").mkdir(parents=True)
    (tmp_path / "logs/y/second.tsv").write_text("s\tmax_rss\n4000.0\t1\n")
    command = [sys.executable, "-m", "snakemake", "--cores", "1"]
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    lines = re.findall(r"^\S+ [01] of 2 jobs, .*$", run.stderr, flags=re.M)
    # The second takes 66 minutes by what its like took, the first says ten of its own.
    assert any(line == "0%, 0 of 2 jobs, 77 min left | first 1/10 0.1/s 10 min" for line in lines)
    assert re.fullmatch(r"0%, 1 of 2 jobs, 6\d min left \| second", lines[-1])
