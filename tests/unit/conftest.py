"""Fixtures of the library's tests: a bare machine, and weight files in the official layouts."""

import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from benchmarks.network_files import (
    random_bisenet,
    random_mica,
    random_rvm,
    write_bisenet_onnx,
    write_mica_tar,
    write_rvm_onnx,
)
from headsplat.gaussians.raster import extension
from headsplat.networks.bisenet import BiSeNet
from headsplat.networks.mica import Mica
from headsplat.networks.rvm import RobustVideoMatting
from headsplat.runtime.stopping import SIGNALS
from tests.unit import fake_compilers


@pytest.fixture
def loader(monkeypatch, tmp_path):
    """The loader as in a new process on a machine with a C++ compiler that writes empty files.

    Nothing is really loaded; the libraries' paths are noted in the list this gives. Neither the
    machine's own compilers nor its own GPU nor an installed package is seen.
    """
    loaded: list[str] = []
    monkeypatch.setattr(extension, "_loaded", None)
    monkeypatch.setattr(extension.torch.ops, "load_library", loaded.append)
    monkeypatch.setattr(extension.torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(sys.modules, extension.PACKAGE, None)
    toolchain = extension._toolchain()
    monkeypatch.setattr(toolchain.compilers, "DEFAULT_HOME", str(tmp_path / "no-cuda"))
    monkeypatch.setattr(extension, "_toolchain", lambda: toolchain)
    for name in ("CUDA_HOME", "CUDA_PATH", "TORCH_CUDA_ARCH_LIST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("CXX", str(fake_compilers.compiler(tmp_path / "bin/c++")))
    monkeypatch.setenv("HEADSPLAT_EXT_DIR", str(tmp_path / "libraries"))
    return loaded


@dataclass
class RvmFiles:
    """One network as torch weights and as ONNX in both precisions."""

    network: RobustVideoMatting
    pth: Path
    onnx: Path
    half: Path


@pytest.fixture(scope="session")
def rvm(tmp_path_factory: pytest.TempPathFactory) -> RvmFiles:
    folder = tmp_path_factory.mktemp("rvm")
    files = RvmFiles(
        random_rvm("mobilenetv3"),
        folder / "rvm_mobilenetv3.pth",
        folder / "rvm_mobilenetv3_fp32.onnx",
        folder / "rvm_mobilenetv3_fp16.onnx",
    )
    torch.save(files.network.state_dict(), files.pth)
    write_rvm_onnx(files.onnx, files.network)
    write_rvm_onnx(files.half, files.network, half=True)
    return files


@pytest.fixture(scope="session")
def bisenet(tmp_path_factory: pytest.TempPathFactory) -> tuple[BiSeNet, Path, Path]:
    """The network, its weights in the format of torch 1.0, and an export with one score map."""
    folder = tmp_path_factory.mktemp("bisenet")
    network = random_bisenet()
    weights, onnx = folder / "79999_iter.pth", folder / "79999_iter.onnx"
    torch.save(network.state_dict(), weights, _use_new_zipfile_serialization=False)
    write_bisenet_onnx(onnx, network)
    return network, weights, onnx


@pytest.fixture(scope="session")
def mica(tmp_path_factory: pytest.TempPathFactory) -> tuple[Mica, Path]:
    network = random_mica()
    path = tmp_path_factory.mktemp("mica") / "mica.tar"
    write_mica_tar(path, network, vertices=50)
    return network, path


@pytest.fixture(scope="session")
def browser():
    """One chromium for all tests of pages."""
    # aiohttp is an optional package.
    from tests.browser import Browser

    with Browser() as started:
        yield started


@pytest.fixture
def restored_signals():
    """Handlers as before, for tests of commands that install their own."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
