"""The run of `.test/`, by each Snakefile, in a working folder apart from the checkout."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from headsplat.runtime.files import read_json

ROOT = Path(__file__).resolve().parents[2]


def snakemake(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments, "--cores", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_tiny_run_finishes_and_is_up_to_date(tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    shutil.copytree(ROOT / ".test/config", folder / "config")
    snakemake("--directory", str(folder))
    assert read_json(folder / "results/tiny/avatar/metrics.json")["psnr_head"] > 20
    assert not (folder / "workflow_scripts").exists()
    for snakefile in ("Snakefile", "workflow/Snakefile"):
        words = ("--directory", str(folder), "--snakefile", snakefile)
        assert "Nothing to be done" in snakemake(*words, "-n")
    assert "tiny: up to date" in snakemake("plan", "--directory", str(folder), "-q", "all")


def test_the_workflow_is_a_module_of_another(tmp_path):
    (tmp_path / "Snakefile").write_text(
        f"module headsplat:\n    snakefile: {str(ROOT / 'workflow/Snakefile')!r}\n"
        "    config: {'subjects': 'table.tsv'}\n\n\nuse rule * from headsplat\n"
    )
    (tmp_path / "table.tsv").write_text("subject\tvideo\thead\tpreset\nme\tbuiltin\tprocedural\t\n")
    words = ("--directory", str(tmp_path), "--snakefile", str(tmp_path / "Snakefile"))
    head = "work/heads/procedural.npz"
    assert "train_avatar" in snakemake(*words, "all", "-n")
    snakemake(*words, head)
    assert (tmp_path / head).is_file()
