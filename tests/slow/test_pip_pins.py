"""The pins can be installed on every Python, according to `pip install --dry-run`."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from packaging.markers import Marker

from tests.conftest import ROOT
from tests.unit.test_envs import GROUPS, LOCK, pins

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# Built from source, by pip, where the index has no wheel: pure Python, and one with a C compiler.
SOURCES = {"connection_pool", "immutables"}
LINUX = ("manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in range(17, 29)))
NO_INDEX = ("No matching distribution found", "Could not fetch URL", "Network is unreachable")


@pytest.fixture(scope="module")
def index() -> None:
    """Skip if pip reaches no package index."""
    asked = pip("PyYAML==6.0.3", "--no-deps")
    if asked.returncode and any(words in asked.stderr for words in NO_INDEX):
        pytest.skip("pip reaches no package index")


def pip(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Dry run as in an empty environment."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=900
    )


def pip_as(python: str, report: Path, *arguments: str | Path) -> dict[str, str]:
    """Dry run as another Python on Linux; file that it would take -> its SHA-256."""
    machine = [f"--platform={name}" for name in LINUX]
    machine += [f"--python-version={python}", "--implementation=cp"]
    target = [f"--target={report.parent}", f"--report={report}"]
    result = pip("--no-deps", *machine, *target, *arguments)
    assert result.returncode == 0, result.stderr[-2000:]
    taken = [one["download_info"] for one in json.loads(report.read_text())["install"]]
    return {one["url"].rpartition("/")[2]: one["archive_info"]["hashes"]["sha256"] for one in taken}


def applicable(text: str, python: str) -> list[str]:
    """The pins whose markers hold for a Python; pip would take its own."""
    kept = []
    for line in text.splitlines():
        pin, _, marker = line.rstrip(" \\").partition(" ; ")
        version = {"python_version": python, "python_full_version": f"{python}.0"}
        if line[:1].isalnum() and (not marker or Marker(marker).evaluate(version)):
            kept.append(pin)
    return kept


@pytest.mark.parametrize("python", PYTHONS)
def test_every_python_gets_wheels(index: None, tmp_path: Path, python: str) -> None:
    names = ("requirements.lock", *(f"requirements-{group}.txt" for group in GROUPS))
    texts = [(ROOT / name).read_text() for name in names]
    # Without the hashes, for which pip would download everything: they are compared here.
    wanted = {pin for text in texts for pin in applicable(text, python)}
    files = pip_as(python, tmp_path / "report.json", *wanted)
    assert len(files) == len(wanted) > 90
    assert set(files.values()) <= set(re.findall("sha256:([0-9a-f]{64})", "".join(texts)))
    sources = {file.rpartition("-")[0] for file in files if not file.endswith(".whl")}
    assert sources <= SOURCES
    torch = pip_as(python, tmp_path / "report.json", "-r", "requirements-torch.txt")
    names = [unquote(file).split("+")[0].split("-cp")[0] for file in torch]  # a build, such as +cpu
    assert names == [f"torch-{LOCK['torch']}"]


@pytest.mark.parametrize("environment", ["assets", "tracker", "trainer"])
def test_condas_pins_resolve(index: None, environment: str) -> None:
    content = yaml.safe_load((ROOT / "envs" / f"{environment}.yaml").read_text())
    result = pip(*content["dependencies"][-1]["pip"])
    assert result.returncode == 0, result.stderr[-2000:]


def test_optional_pins_resolve(index: None) -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = [line.partition(" ")[0] for line in lines if line[:1].isalnum() and " ; " not in line]
    result = pip(*pins, "-r", "requirements-torch.txt", "-r", "requirements-optional.txt")
    assert result.returncode == 0, result.stderr[-2000:]


def test_the_project_file_still_gives_these_pins(index: None, tmp_path: Path) -> None:
    uv = tmp_path / "uv"
    got = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--target", uv, "uv"],
        capture_output=True, text=True,
    )  # fmt: skip
    if got.returncode:
        pytest.skip("the package index has no uv")
    names = ["pyproject.toml", "requirements-torch.txt", "requirements.lock"]
    names += [f"requirements-{group}.txt" for group in GROUPS]
    for name in names:
        shutil.copy(ROOT / name, tmp_path)
    script = ROOT / "workflow_scripts/headsplat_workflow/write_locks.py"
    environment = os.environ | {"PATH": f"{uv / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, check=True)
    for name in names[2:]:
        assert pins((tmp_path / name).read_text()) == pins((ROOT / name).read_text())
