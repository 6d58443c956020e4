"""`make setup` on a real environment of a few small packages: kept, continued, made anew."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("snakemake", "snakefmt", "pytest")


def wheel(folder: Path, name: str, version: str = "1.0") -> None:
    """A package with one script that says its name and version."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}_mark.py": f"def main(): print('{name} {version}')\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name} = {name}_mark:main\n",
    }
    record = "".join(f"{file},,\n" for file in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(file, text)


class Checkout:
    """The Makefile and the set-up beside a lock of small packages and a check that says so."""

    def __init__(self, folder: Path, wheels: Path):
        self.folder, self.wheels = folder, wheels
        library = folder / "workflow_scripts/headsplat_workflow"
        library.mkdir(parents=True)
        shutil.copy(ROOT / "Makefile", folder)
        shutil.copy(ROOT / "workflow_scripts/headsplat_workflow/set_up.py", library)
        # The real one needs all that the real lock installs.
        (library / "system_check.py").write_text("def main(): print('checked'); return 0\n")
        (folder / "requirements.lock").write_text("".join(f"{p}==1.0\n" for p in PACKAGES))

    def make(self, *arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["make", *(arguments or ("setup",)), f"PYTHON={python}"],
            cwd=self.folder, capture_output=True, text=True,
            env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PIP_NO_INDEX": "1",
                 "PIP_FIND_LINKS": self.wheels.as_uri()},
        )  # fmt: skip

    def sets_up(self, said: str = "") -> None:
        result = self.make()
        assert result.returncode == 0, result.stdout + result.stderr
        assert said in result.stdout
        assert self.says("snakemake") == "snakemake 1.0"

    def says(self, name: str) -> str:
        script = self.folder / ".venv/bin" / name
        return subprocess.run([script], capture_output=True, text=True, check=True).stdout.strip()

    def is_ready(self) -> None:
        """Nothing is to be done, and nothing is needed to find that out."""
        result = self.make(python="/nowhere/python3.11")
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    folder = tmp_path_factory.mktemp("set up")  # with a space, as folders of users have
    (folder / "wheels").mkdir()
    for name in PACKAGES:
        wheel(folder / "wheels", name)
    wheel(folder / "wheels", "snakemake", "2.0")
    checkout = Checkout(folder / "headsplat", folder / "wheels")
    checkout.sets_up("checked")
    return checkout


@pytest.fixture
def checkout(made: Checkout, tmp_path: Path) -> Checkout:
    """A copy at the very place of the one that was set up, so that it is right."""
    shutil.copytree(made.folder, tmp_path / "kept", symlinks=True)
    yield made
    shutil.rmtree(made.folder)
    (tmp_path / "kept").rename(made.folder)


def test_what_is_right_is_left_alone(checkout: Checkout) -> None:
    checkout.is_ready()
    dry = checkout.make("-n", "demo")
    assert dry.returncode == 0
    assert ".venv/bin/snakemake --cores all demo" in dry.stdout


def test_a_moved_checkout_is_set_up_again(checkout: Checkout, tmp_path: Path) -> None:
    shutil.copytree(checkout.folder, tmp_path / "moved", symlinks=True)
    moved = Checkout.__new__(Checkout)
    moved.folder, moved.wheels = tmp_path / "moved", checkout.wheels
    moved.sets_up(f"(its snakemake starts {checkout.folder}/.venv/bin/python")
    moved.is_ready()
    checkout.is_ready()


@pytest.mark.parametrize("python", ["/nowhere/python3.11", "/bin/false"])
def test_a_python_that_is_gone_is_replaced(checkout: Checkout, python: str) -> None:
    for name in ("python", "python3", "python3.11"):
        (checkout.folder / ".venv/bin" / name).unlink()
        (checkout.folder / ".venv/bin" / name).symlink_to(python)
    checkout.sets_up("making it anew")
    checkout.is_ready()


def test_a_killed_set_up_is_continued(checkout: Checkout) -> None:
    venv = checkout.folder / ".venv"
    (venv / "ready").unlink()
    (venv / "bin" / "snakemake").unlink()
    packages = next(venv.glob("lib/python*/site-packages"))
    (packages / "snakemake_mark.py").unlink()
    (packages / "snakemake-1.0.dist-info/INSTALLER").unlink()
    whole = (packages / "pytest_mark.py").stat().st_ino
    checkout.sets_up("checked")
    assert (packages / "pytest_mark.py").stat().st_ino == whole
    checkout.is_ready()


def test_another_lock_is_installed(checkout: Checkout) -> None:
    lock = checkout.folder / "requirements.lock"
    lock.write_text(lock.read_text().replace("snakemake==1.0", "snakemake==2.0"))
    assert checkout.make().returncode == 0
    assert checkout.says("snakemake") == "snakemake 2.0"
    checkout.is_ready()


def test_an_installation_that_fails_says_so_and_is_not_ready(checkout: Checkout) -> None:
    lock = checkout.folder / "requirements.lock"
    lock.write_text(lock.read_text() + "no-such-package==1.0\n")
    for _ in range(2):
        result = checkout.make()
        assert result.returncode != 0
        assert "error: .venv could not be made; see above" in result.stdout


def test_a_link_to_another_environment_is_not_cleared(checkout: Checkout, tmp_path: Path) -> None:
    venv = checkout.folder / ".venv"
    venv.rename(tmp_path / "shared")
    (tmp_path / "shared/bin/snakemake").write_text("#!/nowhere/python\npass\n")
    venv.symlink_to(tmp_path / "shared")
    result = checkout.make()
    assert result.returncode != 0
    assert (
        "error: .venv does not fit this checkout (its snakemake starts /nowhere/python); remove"
        in result.stdout
    )
    assert (tmp_path / "shared/bin/pytest").exists()
