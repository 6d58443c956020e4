"""Fixtures of the library's tests."""

import sys

import pytest

from headsplat.raster import extension
from tests.unit import fake_compilers


@pytest.fixture
def loader(monkeypatch, tmp_path):
    """The loader as in a new process on a machine with a C++ compiler that writes empty files.

    Nothing is really loaded; the libraries' paths are noted in the list this gives. Neither the
    machine's own compilers nor its own card nor an installed package is seen.
    """
    loaded: list[str] = []
    monkeypatch.setattr(extension, "_loaded", None)
    monkeypatch.setattr(extension.torch.ops, "load_library", loaded.append)
    monkeypatch.setattr(extension.torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(sys.modules, extension.PACKAGE, None)
    toolchain = extension._toolchain()
    monkeypatch.setattr(toolchain, "DEFAULT_HOME", str(tmp_path / "no-cuda"))
    monkeypatch.setattr(extension, "_toolchain", lambda: toolchain)
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("CXX", str(fake_compilers.compiler(tmp_path / "bin/c++")))
    monkeypatch.setenv("HEADSPLAT_EXT_DIR", str(tmp_path / "libraries"))
    return loaded
