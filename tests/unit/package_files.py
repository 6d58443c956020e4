"""The wheel of the library, built from a copy of its sources."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def build_wheel(folder: Path) -> Path:
    """Build the wheel as `pip wheel .` does, without the network; leaves the checkout alone."""
    source = folder / "source"
    source.mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
    for name in ("headsplat", "cuda_ext"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet"]
    command += ["--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(source)]
    subprocess.run(command, check=True)
    (wheel,) = folder.glob("headsplat-*.whl")
    return wheel
