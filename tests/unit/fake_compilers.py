"""Fake compilers, GPUs and packages for tests of the operator loader."""

import hashlib
import importlib
import sys
from pathlib import Path

from headsplat.gaussians.raster import extension

GOOD = 'for word in "$@"; do [ "$last" = -o ] && : > "$word"; last=$word; done'


def compiler(path: Path, does: str = GOOD, version: str = "1.0") -> Path:
    """A shell script that notes each call in `<name>.calls` and then `does` what it says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "#!/bin/sh\nPATH=/bin:/usr/bin\n"
        f'case "$1" in --version) echo {path.name} {version}; exit;; -print*) exit 1;; esac\n'
        f'echo "$@" >> {path}.calls\n{does}\n'
    )
    path.chmod(0o755)
    return path


def calls(path: Path) -> int:
    """How often the compiler was asked to compile or link."""
    noted = Path(f"{path}.calls")
    return len(noted.read_text().splitlines()) if noted.exists() else 0


def failing(said: str) -> str:
    """A compiler's deed: to say this and fail."""
    return f"cat >&2 <<'END'\n{said}\nEND\nexit 1"


def gpu(monkeypatch, capability=(9, 0), cuda="13.0"):
    """PyTorch sees a GPU; its kernels are never started."""
    torch = extension.torch
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
    monkeypatch.setattr(torch.version, "cuda", cuda)


def installed(monkeypatch, folder: Path, torch=None, arch=None, content=b"") -> str:
    """An installed package headsplat_cuda_ext; `torch` is by default the right one.

    Returns:
        Its library, of any content.
    """
    package = folder / "site" / extension.PACKAGE
    package.mkdir(parents=True)
    library = package / "x.so"
    library.write_bytes(content)
    torch = torch or extension.torch.__version__
    (package / "__init__.py").write_text(
        f"LIBRARY, SHA256 = {str(library)!r}, {hashlib.sha256(content).hexdigest()!r}\n"
        f"TORCH, ARCH, NO_CUDA = {torch!r}, {arch!r}, None\n"
    )
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.delitem(sys.modules, extension.PACKAGE, raising=False)
    importlib.invalidate_caches()
    return str(library)
