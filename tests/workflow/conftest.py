"""A copy of the repository in which Snakemake runs on a tiny built-in clip."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "Snakefile", "rules", "envs", "headsplat", "workflow_scripts", "cuda_ext", "config", "profiles",
    "docs",
)  # fmt: skip

TINY = {
    "builtin": {"seconds": 3, "size": 320},
    "presets": {
        "preview": {
            "chunks": 2,
            "crop": {"size": 128},
            "train": {"steps": 30, "batch": 2, "gaussians": 1500},
        }
    },
}


@dataclass
class Checkout:
    """A working copy and the command that runs its workflow."""

    folder: Path

    def snakemake(self, *arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
        """Run Snakemake in the copy with two cores and the tiny configuration."""
        command = [sys.executable, "-m", "snakemake", "--configfile", "tiny.yaml"]
        return subprocess.run(
            [*command, "--cores", "2", *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={
                **os.environ,
                "PYTHONDONTWRITEBYTECODE": "1",
                "HEADSPLAT_EXT_DIR": str(ROOT / "work" / "cuda_ext"),
            },
        )

    def planned(self, *arguments: str) -> dict[str, int]:
        """Rule -> number of jobs that a dry run plans (the targets `all` and `demo` left out)."""
        result = self.snakemake(*arguments, "-n", "--quiet", "rules")
        assert result.returncode == 0, result.stdout + result.stderr
        jobs: dict[str, int] = {}
        for line in (result.stdout + result.stderr).splitlines():
            words = line.split()
            if len(words) == 2 and words[1].isdigit() and words[0] not in ("total", "all", "demo"):
                jobs[words[0]] = int(words[1])
        return jobs


def copy_repository(folder: Path) -> Checkout:
    """Copy what a run needs; the compiled operators are shared through their keyed folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source, target = ROOT / part, folder / part
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
            shutil.copytree(source, target, ignore=ignore)
        else:
            shutil.copy(source, target)
    for profile in ("runpod", "slurm", "kubernetes"):
        (folder / profile).symlink_to(f"profiles/{profile}")
    (folder / "tiny.yaml").write_text(yaml.safe_dump(TINY))
    return Checkout(folder)


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A fresh copy in which nothing has run."""
    return copy_repository(tmp_path / "headsplat")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A copy in which the whole workflow ran once on the tiny built-in clip; do not edit it."""
    checkout = copy_repository(tmp_path_factory.mktemp("finished") / "headsplat")
    result = checkout.snakemake("demo")
    assert result.returncode == 0, result.stdout + result.stderr
    return checkout
