"""Fake compilers, GPUs and packages for tests of the operator loader."""

import hashlib
import importlib
import sys
from pathlib import Path

from headsplat.gaussians.raster import extension

ARCHS = (75, 80, 86, 87, 89, 90, 100, 110, 103, 120, 121)
GOOD = 'for word in "$@"; do [ "$last" = -o ] && : > "$word"; last=$word; done'


def compiler(
    path: Path, does: str = GOOD, version: str = "1.0", archs: tuple[int, ...] = ARCHS
) -> Path:
    """A shell script that notes each call in `<name>.calls` and then `does` what it says.

    It knows the GPU architectures `archs`, as a CUDA compiler.
    """
    listing = " ".join(["printf 'compute_%s\\n'", *map(str, archs)])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "#!/bin/sh\nPATH=/bin:/usr/bin\n"
        f'case "$1" in --version) echo {path.name} {version}; exit;; -print*) exit 1;;'
        f" --list-gpu-arch) {listing}; exit;; esac\n"
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


def gpu(monkeypatch, *capabilities, cuda="13.0"):
    """PyTorch sees GPUs, by default one of capability 9.0; its kernels are never started."""
    torch, capabilities = extension.torch, capabilities or ((9, 0),)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda k=0: capabilities[k])
    monkeypatch.setattr(torch.version, "cuda", cuda)


def installed(monkeypatch, folder: Path, content=b"", **facts) -> str:
    """An installed package headsplat_cuda_ext that fits this machine but for `facts`.

    Returns:
        Its library, of any content.
    """
    package = folder / "site" / extension.PACKAGE
    package.mkdir(parents=True)
    library = package / "x.so"
    library.write_bytes(content)
    known = {
        "LIBRARY": str(library),
        "SHA256": hashlib.sha256(content).hexdigest(),
        "TORCH": extension.torch.__version__,
        "CXX11_ABI": bool(extension.torch.compiled_with_cxx11_abi()),
        "SOURCES": extension._toolchain().sources_digest(),
        "TARGETS": (),
        "NO_CUDA": None,
        "FEATURES": (),
    }
    lines = [f"{name} = {value!r}\n" for name, value in (known | facts).items()]
    (package / "__init__.py").write_text("".join(lines))
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.delitem(sys.modules, extension.PACKAGE, raising=False)
    importlib.invalidate_caches()
    return str(library)
