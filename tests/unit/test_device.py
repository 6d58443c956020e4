"""Choice of the device: a GPU that the operators support, else the CPU."""

import logging

import pytest
import torch

from headsplat.gaussians.raster import extension
from headsplat.gaussians.raster.extension import serving_device
from headsplat.runtime.device import choose_device, memory_advice
from headsplat.runtime.errors import UserError
from tests.unit.fake_compilers import calls, compiler, failing, gpu

TOO_NEW = (
    "/usr/local/cuda/include/crt/host_config.h:143:2: error: #error -- unsupported GNU version! "
    "gcc versions later than 14 are not supported!"
)


def new_process(monkeypatch):
    monkeypatch.setattr(extension, "_loaded", None)


def on_the_cpu(caplog) -> str:
    """`auto` falls back to the CPU with one warning; `cuda` raises one line with the reason."""
    caplog.clear()
    assert serving_device("auto").type == "cpu"
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert warning.startswith("computing on the CPU: ")
    reason = warning.removeprefix("computing on the CPU: ")
    with pytest.raises(UserError) as error:
        serving_device("cuda")
    assert str(error.value) == f"--device cuda: {reason}; or use --device cpu"
    assert "\n" not in reason
    extension.require(torch.device("cpu"))
    with pytest.raises(UserError, match="lack CUDA"):
        extension.require(torch.device("cuda"))
    return reason


@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_without_a_gpu_nothing_is_built(loader, monkeypatch, name):
    monkeypatch.setattr(extension, "load", lambda: pytest.fail("the operators were loaded"))
    assert serving_device(name).type == "cpu"
    gpu(monkeypatch)
    assert serving_device("cpu").type == "cpu"


def test_cuda_without_a_gpu(loader, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(UserError, match="no GPU .*CPU build: install"):
        choose_device("cuda")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(UserError, match="no GPU is visible; or use --device cpu"):
        serving_device("cuda")


def test_supported_gpu(loader, monkeypatch, tmp_path, caplog):
    gpu(monkeypatch)
    nvcc = compiler(tmp_path / "bin/nvcc")
    assert serving_device("auto").type == serving_device("cuda").type == "cuda"
    extension.require(torch.device("cuda"))
    assert calls(nvcc) > 0
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_a_gpu_too_old(loader, monkeypatch, tmp_path, caplog):
    gpu(monkeypatch, (6, 1), cuda="12.8")
    nvcc = compiler(tmp_path / "bin/nvcc")
    assert "compute capability 6.1; 7.0 or newer is needed" in on_the_cpu(caplog)
    assert calls(nvcc) == 0


def test_no_nvcc(loader, monkeypatch, caplog):
    gpu(monkeypatch)
    reason = on_the_cpu(caplog)
    assert reason == "no nvcc: install the CUDA 13.0 toolkit, or set CUDA_HOME to it"


def test_gpu_without_cuda(loader, monkeypatch, caplog):
    gpu(monkeypatch, cuda=None)
    assert "is not for CUDA: install one that is" in on_the_cpu(caplog)


def test_a_host_compiler_too_new(loader, monkeypatch, tmp_path, caplog):
    gpu(monkeypatch)
    nvcc = compiler(tmp_path / "bin/nvcc", failing(TOO_NEW))
    reason = on_the_cpu(caplog)
    assert "unsupported GNU version" in reason
    assert "set CXX to an older g++" in reason
    # The next process reports the same failure without compiling again.
    tried = calls(nvcc)
    new_process(monkeypatch)
    assert on_the_cpu(caplog) == reason
    assert calls(nvcc) == tried
    # With another compiler it is tried again.
    monkeypatch.setenv("CXX", str(compiler(tmp_path / "bin/c++-13")))
    compiler(nvcc)
    new_process(monkeypatch)
    assert serving_device("auto").type == "cuda"


def test_failure_is_retried_after_its_file_is_removed(loader, monkeypatch, tmp_path, caplog):
    gpu(monkeypatch)
    nvcc = compiler(tmp_path / "bin/nvcc", failing("nvcc fatal   : something rare"))
    (reason,) = {on_the_cpu(caplog)}
    (noted,) = (tmp_path / "libraries").glob("*.failed")
    assert f"{noted}; once fixed, remove that file" in reason
    compiler(nvcc)
    noted.unlink()
    new_process(monkeypatch)
    assert serving_device("cuda").type == "cuda"


def test_a_cuda_library_that_cannot_be_loaded(loader, monkeypatch, tmp_path, caplog):
    gpu(monkeypatch)
    compiler(tmp_path / "bin/nvcc")
    cuda_key = extension._toolchain().plan(extension._torch_facts(extension._toolchain())).key

    def load(path):
        if cuda_key in path:
            raise OSError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(torch.ops, "load_library", load)
    reason = on_the_cpu(caplog)
    assert "libcudart.so.12: cannot open" in reason
    assert f"remove {tmp_path}/libraries/{cuda_key} to rebuild it" in reason
    assert "with the CUDA 13.0 toolkit" in reason


def test_missing_compiler_ends_in_one_line(loader, monkeypatch):
    gpu(monkeypatch)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="no C\\+\\+ compiler: install g\\+\\+"):
        serving_device("auto")


def test_memory_advice_keeps_the_gpus_numbers():
    error = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB of "
        "which 1.10 GiB is free. Of the allocated memory 5 GiB is allocated by PyTorch."
    )
    line = str(memory_advice(error, 9216.4, "train.batch, train.gaussians or crop.size"))
    assert "about 9216 MiB are needed, and 1.10 GiB of its 7.79 GiB are free" in line
    assert "lower train.batch, train.gaussians or crop.size" in line
    assert "\n" not in line
    assert "are free" not in str(memory_advice(torch.OutOfMemoryError("x"), 1, "train.batch"))
