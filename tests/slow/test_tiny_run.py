"""The run of `.test/`, by each Snakefile, in a working folder apart from the checkout."""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from headsplat.runtime.files import read_json
from tests.unit.without_sockets import MACHINES

ROOT = Path(__file__).resolve().parents[2]
# Python imports it at its start: in a stage, the kernel then ends what opens a socket.
SITE = f"""
import sys
from pathlib import Path
words = Path("/proc/self/cmdline").read_bytes().decode().split("\\0")
stages = [word for word in words[1:2] if Path(word).parent.name == "workflow_scripts"]
if stages:
    sys.path.append({str(ROOT)!r})
    from tests.unit.without_sockets import forbid_sockets
    forbid_sockets()
    with Path(__file__).with_name("stages.txt").open("a") as log:
        print(Path(stages[0]).stem, file=log)
"""


def snakemake(*arguments: str, site: Path | None = None) -> str:
    # Without a name in the environment, PyTorch's cache asks the system, through a local socket.
    extra = {} if site is None else {"PYTHONPATH": str(site), "USER": "tester"}
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", *arguments, "--cores", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **extra},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_tiny_run_finishes_without_a_socket_and_is_up_to_date(tmp_path):
    folder, site = tmp_path / "a folder", tmp_path / "site"
    folder.mkdir()
    shutil.copytree(ROOT / ".test/config", folder / "config")
    if sys.platform == "linux" and platform.machine() in MACHINES:
        site.mkdir()
        (site / "sitecustomize.py").write_text(SITE)
    snakemake("--directory", str(folder), site=site)
    if site.is_dir():
        filtered = (site / "stages.txt").read_text().split()
        ran = {"detect_chunk", "matte_chunk", "track_head", "train_avatar", "write_report"}
        assert ran <= set(filtered), filtered
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
