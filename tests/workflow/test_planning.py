"""A large table is planned faster than by plain Snakemake, and to the same plan."""

import json
import os
import subprocess
import sys

import pytest

from .conftest import Checkout

pytestmark = pytest.mark.slow

PLAN = """
import json, sys
from snakemake.cli import main  # before its parts, which import each other
from snakemake.dag import DAG
from snakemake.output_index import OutputIndex
from headsplat_workflow import planning
if sys.argv[1] == "plain":
    planning.install = planning.keep_signatures = lambda *arguments: None
sought, dags = [], []
init, find = DAG.init, OutputIndex.match_producers
def match_producers(self, file):
    sought.append(str(file))
    return find(self, file)
def note(self, *arguments, **options):
    dags.append(self)
    return init(self, *arguments, **options)
OutputIndex.match_producers, DAG.init = match_producers, note
try:
    main(["-n", "--quiet", "rules", "progress"])
except SystemExit as end:
    assert not end.code, end
jobs = sorted(
    [job.rule.name, sorted(job.input), sorted(job.output), sorted(d.rule.name for d in dags[0].dependencies[job]),
     job.conda_env_spec and job.conda_env_spec.file.get_path_or_uri(secret_free=True),
     dict(job.params), dags[0].needrun(job),
     [sorted(getattr(dags[0].reason(job), why)) for why in ("missing_output", "updated_input", "updated_input_run")]]
    for job in dags[0].jobs
)
print(json.dumps([len(sought), len(set(sought)), jobs]))
"""  # noqa: E501


def test_who_makes_a_file_is_looked_up_once(checkout: Checkout) -> None:
    (checkout.folder / "clip.mp4").write_bytes(b"planning looks at its date only")
    with open(checkout.folder / "config/subjects.tsv", "a") as table:
        table.writelines(f"s{n}\tclip.mp4\tprocedural\tstandard\n" for n in range(4))
    for made in ("s1/landmarks/000.npz", "s2/landmarks.npz", "s2/crop.json", "s2/frames.tsv"):
        file = checkout.folder / "work" / made
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"made by an earlier run, before the video")
        os.utime(file, (1e9, 1e9))
    environment = os.environ | {
        "PYTHONPATH": f"{checkout.folder}:{checkout.folder}/workflow_scripts"
    }

    def plan(how: str) -> tuple[int, int, list[str]]:
        result = subprocess.run(
            [sys.executable, "-c", PLAN, how],
            cwd=checkout.folder, env=environment, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout.splitlines()[-1])

    looked_up, files, jobs = plan("ours")
    assert looked_up <= files + 1  # the video, which nobody makes, is remembered later
    many, same_files, same_jobs = plan("plain")
    assert (same_files, same_jobs) == (files, jobs)
    assert many > 2 * looked_up


NESTED = """
import sys
sys.path.insert(0, {scripts!r})
from headsplat_workflow import planning
planning.install()
rule all:
    input: "out/a/b.txt", "out/a", "out/a2"
rule folder:
    output: directory("out/a")
    shell: "mkdir {{output}}"
rule beside:
    output: "out/a2"
    shell: "touch {{output}}"
rule inside:
    output: "{inside}"
    shell: "touch {{output}}"
"""


@pytest.mark.parametrize("inside", ["out/a/b.txt", "out/a/c/d/b.txt"])
def test_an_output_within_anothers_is_still_refused(checkout: Checkout, inside: str) -> None:
    scripts = str(checkout.folder / "workflow_scripts")
    text = NESTED.format(scripts=scripts, inside=inside).replace("out/a/b.txt", inside)
    (checkout.folder / "Snakefile").write_text(text)
    command = [sys.executable, "-m", "snakemake", "-n", "--workflow-profile", "none"]
    result = subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True)
    assert result.returncode == 1
    assert "child to another output" in result.stdout + result.stderr
