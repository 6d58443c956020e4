"""Whether `make setup` sees at a glance that the environment is right; `tests/slow` makes some."""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SCRIPTS = ("snakemake", "pip", "headsplat")
SUPPORT = "workflow_scripts/headsplat_workflow"
LOCKED = ("requirements.lock", "requirements-torch.txt", "pyproject.toml")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a folder with a space, with an environment of which only the scripts count."""
    folder = tmp_path / "my checkouts" / "headsplat"
    (folder / SUPPORT).mkdir(parents=True)
    for name in ("Makefile", *LOCKED, f"{SUPPORT}/set_up.py", f"{SUPPORT}/find_python.sh"):
        shutil.copy(ROOT / name, folder / name)
    venv = folder / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    for name in SCRIPTS:
        # As pip writes them where the path has a space.
        text = f"#!/bin/sh\n'''exec' \"{venv}/bin/python\" \"$0\" \"$@\"\n' '''\npass\n"
        (venv / "bin" / name).write_text(text)
    wanted = b"".join((folder / name).read_bytes() for name in LOCKED)
    (venv / "ready").write_text(hashlib.sha256(wanted).hexdigest() + "\n")
    return folder


def run_make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """As from a shell: without what a `make` that runs the tests hands down."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )


def is_ready(folder: Path) -> bool:
    """Whether nothing is to be done; what is to be done fails, for want of a Python to do it."""
    result = run_make(folder, "setup", "PYTHON=/nowhere/python3.11")
    if result.returncode:
        assert "error: /nowhere/python3.11 is not installed" in result.stderr
    else:
        assert result.stdout + result.stderr == ""
    return result.returncode == 0


def test_a_right_environment_is_left_alone(checkout: Path) -> None:
    assert is_ready(checkout)
    dry = run_make(checkout, "-n", "demo")
    assert dry.returncode == 0
    assert ".venv/bin/snakemake --cores all demo" in dry.stdout


def test_short_paths_stand_in_the_first_line(checkout: Path) -> None:
    for name in SCRIPTS:
        (checkout / ".venv/bin" / name).write_text(f"#!{checkout}/.venv/bin/python\npass\n")
    assert is_ready(checkout)


@pytest.mark.parametrize("name", ["my checkouts", "Anna's"])
def test_uv_quotes_paths_in_another_way(checkout: Path, name: str) -> None:
    folder = checkout.parent.rename(checkout.parents[1] / name) / "headsplat"
    python = shlex.quote(f"{folder}/.venv/bin/python")
    for script in SCRIPTS:
        text = f"#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''\npass\n"
        (folder / ".venv/bin" / script).write_text(text)
    assert is_ready(folder)


@pytest.mark.parametrize("name", ['a "b', "a $b", "a `b", "a\nb"])
def test_paths_at_which_scripts_do_not_run_are_one_line(checkout: Path, name: str) -> None:
    folder = checkout.parent.rename(checkout.parents[1] / name) / "headsplat"
    result = run_make(folder, "setup", f"PYTHON={sys.executable}")
    assert result.returncode != 0
    assert "scripts do not run at such a path; rename the folder" in result.stdout
    assert result.stdout.count("\n") == 1


def test_a_link_to_the_environment_is_right(checkout: Path) -> None:
    (checkout / ".venv").rename(checkout.parent / "shared")
    (checkout / ".venv").symlink_to(checkout.parent / "shared")
    assert is_ready(checkout)


def moved(folder: Path) -> Path:
    return folder.rename(folder.parent / "elsewhere")


def copied(folder: Path) -> Path:
    return Path(shutil.copytree(folder, folder.parent / "copy", symlinks=True))


def changed(name: str):
    def change(folder: Path) -> Path:
        with open(folder / name, "a") as file:
            file.write("# changed\n")
        return folder

    return change


def another_version(folder: Path) -> Path:
    project = folder / "pyproject.toml"
    text = project.read_text()
    project.write_text(text.replace('\nversion = "', '\nversion = "1'))
    assert project.read_text() != text
    return folder


def without(name: str):
    def remove(folder: Path) -> Path:
        path = folder / ".venv" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        return folder

    return remove


def another_python(folder: Path) -> Path:
    for path in (folder / ".venv/bin").glob("python*"):
        path.unlink(missing_ok=True)
        path.symlink_to("/bin/false")
    return folder


@pytest.mark.parametrize(
    "change",
    [moved, copied, *map(changed, LOCKED), another_version, another_python, without("ready"),
     without("bin/snakemake"), without("bin/headsplat"), without("bin/python"),
     without("pyvenv.cfg"), without("bin")],
)  # fmt: skip
def test_what_is_not_right_is_noticed(checkout: Path, change) -> None:
    assert not is_ready(change(checkout))


def fake_python(folder: Path, name: str, version: str = "", ensurepip: bool = True) -> Path:
    """A program that answers find_python.sh as a Python of that version does."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    major, _, minor = version.partition(".")
    body = (
        f"case $2 in *ensurepip*) {'' if ensurepip else 'exit 1;'} ;; esac\n"
        f"case $2 in *print*) echo 'Python {version}' ;; "
        f"*) [ {major} = 3 ] && [ {minor} -ge 11 ] && [ {minor} -le 14 ] ;; esac\n"
        if version
        else "exit 127\n"
    )
    path.write_text(f"#!/bin/sh\n{body}")
    path.chmod(0o755)
    return path


def find_python(*arguments: str, path: Path) -> tuple[str, str]:
    """(standard output, standard error) of find_python.sh with `path` as its whole PATH."""
    script = ROOT / SUPPORT / "find_python.sh"
    result = subprocess.run(
        ["/bin/sh", script, *arguments], env={"PATH": str(path)}, capture_output=True, text=True
    )
    assert result.returncode == (0 if result.stdout else 1)
    return result.stdout.strip(), result.stderr


def test_this_python_suits() -> None:
    found, said = find_python(sys.executable, path=Path(sys.executable).parent)
    assert (found, said) == (sys.executable, "")


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        ({"python3": "3.12", "python3.13": "3.13"}, "python3"),
        ({"python3": "3.10", "python3.11": "3.11", "python3.13": "3.13"}, "python3.13"),
        ({"python3": "3.15", "python3.14": "3.14"}, "python3.14"),
        ({"python3": "3.9", "python3.12": "", "python3.11": "3.11"}, "python3.11"),
    ],
)
def test_the_systems_python_comes_first(tmp_path: Path, present, expected) -> None:
    for name, version in present.items():
        fake_python(tmp_path / "bin", name, version)
    found, said = find_python(path=tmp_path / "bin")
    assert (found, said) == (str(tmp_path / "bin" / expected), "")


@pytest.mark.parametrize(("uv", "brings"), [(True, "uv"), (False, "pipx run uv")])
@pytest.mark.parametrize("version", ["3.10", "3.15", "2.7", None])
def test_a_python_that_does_not_suit_is_one_line(tmp_path: Path, uv, brings, version) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    if uv:
        fake_python(folder, "uv")
    if version:
        fake_python(folder, "python3", version)
    assert find_python(path=folder) == (
        "",
        "error: no Python 3.11 to 3.14 with its module venv is installed; "
        f"bring one with: {brings} python install 3.13\n",
    )
    _, said = find_python("python3", path=folder)
    assert said == (
        f"error: python3 is Python {version}; the pins need 3.11 to 3.14: set PYTHON= to one, "
        f"or: {brings} python install 3.13\n"
        if version
        else "error: python3 is not installed; set PYTHON= to Python 3.11 to 3.14, "
        f"or: {brings} python install 3.13\n"
    )


def test_what_a_python_prints_at_its_start_is_no_path(tmp_path: Path) -> None:
    noisy = fake_python(tmp_path / "bin", "python3", "3.13")
    noisy.write_text(noisy.read_text().replace("\n", "\necho noise\n", 1))
    assert find_python(path=tmp_path / "bin") == (str(noisy), "")


def test_debians_python_without_venv_is_one_line(tmp_path: Path) -> None:
    fake_python(tmp_path / "bin", "python3", "3.13", ensurepip=False)
    _, said = find_python("python3", path=tmp_path / "bin")
    assert said == (
        "error: python3 lacks its module venv; bring it with: apt-get install python3.13-venv\n"
    )
    fake_python(tmp_path / "bin", "uv")  # which needs no ensurepip
    assert find_python("python3", path=tmp_path / "bin")[0] == str(tmp_path / "bin/python3")
