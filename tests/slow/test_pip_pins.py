"""The pins resolve together: asked of pip, which installs nothing."""

import subprocess
import sys

import pytest
import yaml

from tests.conftest import ROOT

LOCK = ["-r", "requirements.lock"]
SETS = {
    "cluster": [*LOCK, "-r", "requirements-kubernetes.txt", "-r", "requirements-storage.txt"],
    "optional": [*LOCK, "-r", "requirements-optional.txt"],
    "docs": [*LOCK, "-r", "requirements-docs.txt"],
}
for environment in ("assets", "tracker", "trainer"):
    content = yaml.safe_load((ROOT / "envs" / f"{environment}.yaml").read_text())
    SETS[environment] = content["dependencies"][-1]["pip"]
NO_INDEX = ("No matching distribution found", "Could not fetch URL", "Network is unreachable")


@pytest.fixture(scope="module")
def index() -> None:
    """Skip where pip reaches no package index."""
    asked = pip("PyYAML==6.0.3", "--no-deps")
    if asked.returncode and any(words in asked.stderr for words in NO_INDEX):
        pytest.skip("pip reaches no package index")


def pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A dry run as if nothing were installed."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    return subprocess.run(
        [*command, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=600
    )


@pytest.mark.parametrize("name", sorted(SETS))
def test_pins_resolve(index: None, name: str) -> None:
    result = pip(*SETS[name])
    assert result.returncode == 0, result.stderr[-2000:]
