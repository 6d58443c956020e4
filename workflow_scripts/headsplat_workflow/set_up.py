"""Create, check or complete the checkout's virtual environment.

It contains the packages of requirements.lock, PyTorch, the library itself, installed editable, and
the model files. This script uses only the standard library, because it runs before anything is
installed. `make setup` runs it with the environment's own Python and `--check`, and with the
machine's Python to install what is missing.
"""

import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

OLDEST, NEWEST = (3, 11), (3, 14)
COMPILES = {(3, 14)}  # Pythons for which `immutables` has no wheel
SCRIPTS = ("snakemake", "pip", "headsplat")
LOCK, TORCH, PROJECT = (
    Path(name) for name in ("requirements.lock", "requirements-torch.txt", "pyproject.toml")
)
STAMP = "ready"
# Parts of packages that are not compiled, unless the system check loads them.
UNUSED = r"/tests?/|/testing/|/_inductor/|/sympy/"
UNFINISHED, WRONG = 3, 4  # exit statuses of `--check`
# By these, pip would install elsewhere, or count packages of other places as installed.
ELSEWHERE = ("PIP_DRY_RUN", "PIP_PREFIX", "PIP_PYTHON", "PIP_TARGET", "PYTHONHOME", "PYTHONPATH")


def check(venv: Path) -> int:
    """Exit status 0 if this Python belongs to a complete environment at `venv`; else prints why."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        print(f"it has Python {sys.version_info[0]}.{sys.version_info[1]}")
        return WRONG
    if not venv.is_dir() or not Path(sys.prefix).samefile(venv):
        print("it is incomplete")
        return WRONG
    finished = _stamp(venv) == _wanted()
    for name in SCRIPTS:
        script = venv / "bin" / name
        starts = _interpreter(script)
        if starts is None and not finished:
            continue
        if starts is None or not starts.exists() or not starts.parent.samefile(venv / "bin"):
            print(f"its {name} " + (f"starts {starts}" if starts else "is gone"))
            return WRONG
    return 0 if finished else UNFINISHED


def _interpreter(script: Path) -> Path | None:
    """The interpreter of a console script; long paths, or with spaces, are in line two.

    There it is quoted for the shell: with double quotes by pip, with single ones by uv.
    """
    try:
        first, second, *_ = script.read_text().split("\n", 2)
        return Path(shlex.split(second)[1] if first == "#!/bin/sh" else first.removeprefix("#!"))
    except (OSError, ValueError, IndexError):
        return None


def _wanted() -> str:
    """Hash of what should be installed: the lock file, PyTorch's and pyproject.toml."""
    content = b"".join(path.read_bytes() for path in (LOCK, TORCH, PROJECT))
    return hashlib.sha256(content).hexdigest()


def _stamp(venv: Path) -> str:
    try:
        return (venv / STAMP).read_text().strip()
    except OSError:
        return ""


def set_up(venv: Path) -> int:
    """Create or complete the environment; returns 0 on success."""
    for name in ELSEWHERE:
        os.environ.pop(name, None)
    os.environ["PIP_USER"] = "0"
    python = venv / "bin" / "python"
    folder = os.path.abspath(venv)
    if "\n" in folder or (" " in folder and set('"$`\\') & set(folder)):
        # pip writes the path between double quotes into shell scripts, as it is.
        print(f"error: {folder!r}: scripts do not run at such a path; rename the folder")
        return 1
    if venv.is_dir() and Path(sys.prefix).samefile(venv):
        # Activated: what is deleted and made again here cannot run this script.
        os.execv(sys._base_executable, [sys._base_executable, *sys.argv])
    try:
        command = [python, "-I", __file__, "--check", venv]
        asked = subprocess.run(command, capture_output=True, text=True, check=False)
        status, reason = asked.returncode, asked.stdout.strip()
    except OSError:
        status, reason = WRONG, "its Python is gone"
    if status not in (0, UNFINISHED) and venv.is_dir():
        reason = reason or "its Python does not run"
        if venv.is_symlink():
            print(f"error: {venv} does not fit this checkout ({reason}); remove that link")
            return 1
        print(f"{venv} does not fit this checkout ({reason}): creating it again", flush=True)
        shutil.rmtree(venv)
    headers = Path(sysconfig.get_path("include"), "Python.h")
    if sys.version_info[:2] in COMPILES and not headers.exists():
        print(
            f"error: Python {sys.version_info[0]}.{sys.version_info[1]} needs its headers, because "
            "one package is compiled; install them (Debian, Ubuntu: apt-get install python3-dev)"
        )
        return 1
    _remove_half_installed(venv)
    pip = [python, "-m", "pip", "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", "--no-compile"]  # see _works
    no_pip = not venv.is_dir() or subprocess.run([*pip, "-V"], capture_output=True).returncode
    if no_pip and not _make_venv(venv):
        return _failed(venv)
    print(
        f"installing PyTorch and the packages of {LOCK} into {venv} (1.6 GB, with CUDA 5 GB); "
        "this takes some minutes",
        flush=True,
    )
    # PyTorch by pip in any case, whose configuration says which build; it adds what that requires.
    torch = [*install, "-r", TORCH]
    # The library itself, editable, with its console command.
    library = [*install, "--no-deps", "--no-build-isolation", "--editable", "."]
    if not (_install_lock(python, install) and _run(torch) and _run(library)):
        return _failed(venv)
    if not _works(venv):
        return 1
    (venv / STAMP).write_text(f"{_wanted()}\n")
    return 0


def _works(venv: Path) -> bool:
    """Load what a run loads, compile what may be loaded, and fetch the model files."""
    scripts = Path(__file__).resolve().parents[1]
    paths = os.pathsep.join([str(scripts.parent), str(scripts)])
    code = "from headsplat_workflow.system_check import main; raise SystemExit(main())"
    # Explicitly, because processes write no byte code where PYTHONDONTWRITEBYTECODE is set, as in
    # many containers. pip would compile half as much again, which nothing loads.
    compile_all = ["-m", "compileall", "-q", "-j", "0", "-x", UNUSED, venv / "lib"]
    python = venv / "bin/python"
    _run([python, *compile_all])
    return _run([python, "-c", code], {**os.environ, "PYTHONPATH": paths}) and _run(
        [venv / "bin/headsplat", "models"]
    )


def _make_venv(venv: Path) -> bool:
    """Create an environment of this Python with pip, by uv where it is installed and works."""
    uv = shutil.which("uv")
    if uv:
        if _run([uv, "venv", "--quiet", "--seed", "--clear", "--python", sys.executable, venv]):
            return True
        print("uv could not create it: trying Python's own module", flush=True)
    return _run([sys.executable, "-m", "venv", "--clear", venv])


def _install_lock(python: Path, by_pip: list[str | Path]) -> bool:
    """Install the lock: by uv, which is faster, where it is installed and works, else by pip."""
    lock: list[str | Path] = ["--no-deps", "--require-hashes", "-r", LOCK]
    uv = shutil.which("uv")
    if uv:
        if _run([uv, "pip", "install", "--quiet", "--python", python, *lock]):
            return True
        print("uv could not install it: trying pip", flush=True)
    return _run([*by_pip, *lock])


def _run(command: list[str | Path], environment: dict[str, str] | None = None) -> bool:
    try:
        return subprocess.run(command, env=environment, check=False).returncode == 0
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}")
        return False


def _failed(venv: Path) -> int:
    print(f"error: {venv} could not be created; see above, and run the same command again")
    return 1


def _remove_half_installed(venv: Path) -> None:
    """Remove packages without INSTALLER, which pip writes last, so that pip installs them again."""
    for folder in venv.glob("lib/python*/site-packages/*.dist-info"):
        if not (folder / "INSTALLER").exists():
            shutil.rmtree(folder)


if __name__ == "__main__":
    where = Path(sys.argv[-1])
    sys.exit(check(where) if sys.argv[1] == "--check" else set_up(where))
