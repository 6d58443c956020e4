"""`make setup` with a few small real packages: keeps, completes or recreates the environment."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from headsplat.runtime.fingerprint import file_digest
from tests.conftest import ROOT

PACKAGES = ("snakemake", "pulp")
SUPPORT = "workflow_scripts/headsplat_workflow"


def wheel(folder: Path, name: str, version: str = "1.0") -> None:
    """A package with one script that prints its name and version."""
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


def pin(wheels: Path, name: str, version: str) -> str:
    """A line of a lock."""
    (file,) = wheels.glob(f"{name}-{version}-*.whl")
    return f"{name}=={version} --hash=sha256:{file_digest(file)}\n"


def wheel_of_installed(folder: Path, name: str) -> str:
    """Repack an installed package as a wheel; returns its version."""
    found = distribution(name)
    with zipfile.ZipFile(folder / f"{name}-{found.version}-py3-none-any.whl", "w") as archive:
        for file in found.files:
            if ".." not in file.parts and "__pycache__" not in file.parts:
                archive.write(file.locate(), str(file))
    return found.version


class Checkout:
    """The Makefile and the set-up, with a lock file of small packages and a dummy system check.

    The library has one function and is installed by the real pyproject.toml.
    """

    def __init__(self, folder: Path, wheels: Path):
        self.folder, self.wheels = folder, wheels
        library = folder / SUPPORT
        library.mkdir(parents=True)
        scripts = (f"{SUPPORT}/set_up.py", f"{SUPPORT}/find_python.sh")
        for name in ("Makefile", "pyproject.toml", "README.md", "LICENSE", *scripts):
            shutil.copy(ROOT / name, folder / name)
        (folder / "headsplat/command").mkdir(parents=True)
        for file in ("headsplat/__init__.py", "headsplat/command/__init__.py"):
            (folder / file).touch()
        (folder / "headsplat/command/main.py").write_text("def main(): print('the library')\n")
        # The real system check needs all packages of the real lock file.
        (library / "system_check.py").write_text("def main(): print('checked'); return 0\n")
        versions = {**dict.fromkeys(PACKAGES, "1.0")}
        versions["setuptools"] = wheel_of_installed(wheels, "setuptools")
        lock = "".join(pin(wheels, *item) for item in versions.items())
        (folder / "requirements.lock").write_text(lock)
        (folder / "requirements-torch.txt").write_text("torch==1.0\n")

    def make(
        self,
        *arguments: str,
        python: str = sys.executable,
        path: str = os.environ["PATH"],
        **environment: str,
    ) -> subprocess.CompletedProcess:
        links = self.wheels.as_uri()
        return subprocess.run(
            ["make", *(arguments or ("setup",)), f"PYTHON={python}"],
            cwd=self.folder, capture_output=True, text=True,
            env={"PATH": path, "HOME": os.environ["HOME"], "PIP_NO_INDEX": "1",
                 "PIP_FIND_LINKS": links, "UV_DEFAULT_INDEX": links, "UV_FIND_LINKS": links,
                 **environment},
        )  # fmt: skip

    def sets_up(self, said: str = "") -> None:
        result = self.make()
        assert result.returncode == 0, result.stdout + result.stderr
        assert said in result.stdout
        assert self.says("snakemake") == "snakemake 1.0"
        assert self.says("torch") == "torch 1.0"
        assert self.says("headsplat") == "the library"

    def says(self, name: str) -> str:
        script = self.folder / ".venv/bin" / name
        return subprocess.run([script], capture_output=True, text=True, check=True).stdout.strip()

    def is_ready(self) -> None:
        """The environment is complete, and finding that out needs no package."""
        result = self.make(python="/nowhere/python3.11")
        assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    folder = tmp_path_factory.mktemp("set up")  # with a space, as in some users' folder names
    (folder / "wheels").mkdir()
    for name in (*PACKAGES, "torch", "wheel"):
        wheel(folder / "wheels", name)
    wheel_of_installed(folder / "wheels", "pip")
    wheel(folder / "wheels", "snakemake", "2.0")
    checkout = Checkout(folder / "headsplat", folder / "wheels")
    checkout.sets_up("checked")
    return checkout


@pytest.fixture
def checkout(made: Checkout, tmp_path: Path) -> Checkout:
    """A copy at the path of the original, so that its environment is valid."""
    shutil.copytree(made.folder, tmp_path / "kept", symlinks=True)
    yield made
    shutil.rmtree(made.folder)
    (tmp_path / "kept").rename(made.folder)


def test_valid_environment_is_unchanged(checkout: Checkout) -> None:
    checkout.is_ready()
    dry = checkout.make("-n", "demo")
    assert dry.returncode == 0
    assert ".venv/bin/snakemake --cores all demo" in dry.stdout


def test_moved_checkout_is_set_up_again(checkout: Checkout, tmp_path: Path) -> None:
    shutil.copytree(checkout.folder, tmp_path / "moved", symlinks=True)
    moved = Checkout.__new__(Checkout)
    moved.folder, moved.wheels = tmp_path / "moved", checkout.wheels
    moved.sets_up(f"(its snakemake starts {checkout.folder}/.venv/bin/python")
    moved.is_ready()
    checkout.is_ready()


@pytest.mark.parametrize("python", ["/nowhere/python", "/bin/false"])
def test_environment_with_deleted_python_is_recreated(checkout: Checkout, python: str) -> None:
    for path in (checkout.folder / ".venv/bin").glob("python*"):
        path.unlink()
        path.symlink_to(python)
    checkout.sets_up("creating it again")
    checkout.is_ready()


def test_activated_environment_is_recreated(checkout: Checkout) -> None:
    venv = checkout.folder / ".venv"
    (venv / "bin/snakemake").write_text("#!/nowhere/python\npass\n")
    result = checkout.make(python="", path=f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "creating it again" in result.stdout
    assert checkout.says("snakemake") == "snakemake 1.0"
    checkout.is_ready()


def test_killed_set_up_is_continued(checkout: Checkout) -> None:
    venv = checkout.folder / ".venv"
    (venv / "ready").unlink()
    (venv / "bin" / "snakemake").unlink()
    packages = next(venv.glob("lib/python*/site-packages"))
    (packages / "snakemake_mark.py").unlink()
    (packages / "snakemake-1.0.dist-info/INSTALLER").unlink()
    whole = (packages / "pulp_mark.py").stat().st_ino
    checkout.sets_up("checked")
    assert (packages / "pulp_mark.py").stat().st_ino == whole
    checkout.is_ready()


def test_library_is_installed_editable(checkout: Checkout) -> None:
    main = checkout.folder / "headsplat/command/main.py"
    main.write_text("def main(): print('edited')\n")
    assert checkout.says("headsplat") == "edited"
    python = checkout.folder / ".venv/bin/python"
    code = "from importlib.metadata import version; print(version('headsplat'))"
    told = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout
    assert f'\nversion = "{told.strip()}"' in (ROOT / "pyproject.toml").read_text()


def test_environment_without_the_library_is_completed(checkout: Checkout) -> None:
    venv = checkout.folder / ".venv"
    subprocess.run([venv / "bin/pip", "uninstall", "-q", "-y", "headsplat"], check=True)
    assert not (venv / "bin/headsplat").exists()
    (venv / "ready").write_text("the lock's alone\n")
    whole = (venv / "bin/pulp").stat().st_ino
    checkout.sets_up("checked")
    assert (venv / "bin/pulp").stat().st_ino == whole
    checkout.is_ready()


def test_changed_lock_file_is_installed(checkout: Checkout) -> None:
    lock = checkout.folder / "requirements.lock"
    old, new = (pin(checkout.wheels, "snakemake", version) for version in ("1.0", "2.0"))
    assert old in lock.read_text()
    lock.write_text(lock.read_text().replace(old, new))
    assert checkout.make().returncode == 0
    assert checkout.says("snakemake") == "snakemake 2.0"
    checkout.is_ready()


def test_failed_installation_is_reported_and_not_marked_ready(checkout: Checkout) -> None:
    lock = checkout.folder / "requirements.lock"
    lock.write_text(lock.read_text() + f"no-such-package==1.0 --hash=sha256:{'0' * 64}\n")
    for _ in range(2):
        result = checkout.make()
        assert result.returncode != 0
        assert "error: .venv could not be created; see above" in result.stdout


def test_package_with_another_hash_is_refused(checkout: Checkout) -> None:
    lock = checkout.folder / "requirements.lock"
    line = pin(checkout.wheels, "snakemake", "2.0")
    other = pin(checkout.wheels, "snakemake", "1.0").replace("==1.0", "==2.0")
    lock.write_text(lock.read_text().replace(pin(checkout.wheels, "snakemake", "1.0"), other))
    assert line not in lock.read_text()
    result = checkout.make()
    assert result.returncode != 0
    assert "HASH" in result.stderr.upper()
    assert checkout.says("snakemake") == "snakemake 1.0"


def test_settings_that_install_elsewhere_do_not_count(checkout: Checkout, tmp_path: Path) -> None:
    shutil.rmtree(checkout.folder / ".venv")
    info = tmp_path / "other/snakemake-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: snakemake\nVersion: 1.0\n")
    result = checkout.make(
        PIP_DRY_RUN="1", PIP_USER="1", PIP_TARGET=str(tmp_path / "target"),
        PYTHONPATH=str(info.parent),
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    assert checkout.says("snakemake") == "snakemake 1.0"
    assert not (tmp_path / "target").exists()
    checkout.is_ready()


def test_uv_makes_the_same_environment(checkout: Checkout, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    got = subprocess.run([*pip, "--target", tmp_path / "uv", "uv"], capture_output=True, text=True)
    if got.returncode:
        pytest.skip("pip reaches no package index, which has uv")
    shutil.rmtree(checkout.folder / ".venv")
    result = checkout.make(path=f"{tmp_path / 'uv/bin'}{os.pathsep}{os.environ['PATH']}")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "trying" not in result.stdout, result.stderr
    packages = next((checkout.folder / ".venv").glob("lib/python*/site-packages"))
    assert (packages / "snakemake-1.0.dist-info/INSTALLER").read_text().strip() == "uv"
    assert "uv = " in (checkout.folder / ".venv/pyvenv.cfg").read_text()
    assert checkout.says("torch") == "torch 1.0"
    assert checkout.says("headsplat") == "the library"
    checkout.is_ready()


def test_linked_environment_is_not_deleted(checkout: Checkout, tmp_path: Path) -> None:
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
    assert (tmp_path / "shared/bin/pulp").exists()
