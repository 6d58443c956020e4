"""The CUDA sources compile for every supported GPU, by the CUDA 13 and CUDA 12 that can be had.

Nothing is linked or run. The bindings need PyTorch's headers for CUDA, which its CPU build has too,
but for one that its build system writes.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from headsplat.gaussians.raster import extension
from tests.fatbins import targets_in

TOOLCHAIN = extension._toolchain()
KERNELS = [name for name in TOOLCHAIN._CUDA if name.endswith(".cu")]
SMALLEST = "relu_cuda.cu"
CUDA_12 = ("/usr/local/cuda-12*/bin/nvcc", "/usr/lib/nvidia-cuda-toolkit/bin/nvcc")
WHEELS = ("nvidia-cuda-nvcc-cu12", "nvidia-cuda-runtime-cu12", "nvidia-cuda-cccl-cu12")
VERSIONS = ("12.9.86", "12.9.79", "12.9.27")
# What Clang's own CUDA headers lack: curand's are not used, and one cache hint has no meaning.
SHIM = """#include <cuda_runtime.h>
__device__ inline void __stcg(uint4* place, uint4 value) { *place = value; }
"""


def nvcc_of(major: int) -> str | None:
    """A CUDA compiler of this major version, if there is one."""
    found = [TOOLCHAIN.compilers.find_nvcc()] if TOOLCHAIN.compilers.find_nvcc() else []
    found += [str(path) for pattern in CUDA_12 for path in Path("/").glob(pattern[1:])]
    says = f"release {major}."
    said = TOOLCHAIN.compilers.output_of
    return next((path for path in found if says in said([path, "--version"])), None)


@pytest.mark.parametrize("major", [12, 13])
def test_nvcc_compiles_for_every_gpu_that_it_knows(major, tmp_path, monkeypatch):
    nvcc = nvcc_of(major)
    if nvcc is None:
        pytest.skip(f"there is no nvcc of CUDA {major} here")
    header = tmp_path / "include/c10/cuda/impl/cuda_cmake_macros.h"
    header.parent.mkdir(parents=True)
    header.write_text("#define C10_CUDA_BUILD_SHARED_LIBS\n")
    monkeypatch.setenv("CPLUS_INCLUDE_PATH", str(tmp_path / "include"))
    monkeypatch.setenv("CUDA_HOME", str(Path(nvcc).parents[1]))
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST", raising=False)
    folder = str(Path(torch.__file__).parent)
    plan = TOOLCHAIN.plan(TOOLCHAIN.Torch("x", folder, f"{major}.0", (), True), everywhere=True)
    assert {"75", "80", "86", "89", "90"} <= set(plan.targets)
    assert ("70" in plan.targets) == (major == 12)
    # The oldest, the newest and PTX stand for those between, which take minutes; one file has all.
    ends = replace(plan, targets=(plan.targets[0], *plan.targets[-2:]))
    for name in TOOLCHAIN._CUDA:
        chosen = plan if name == SMALLEST else ends
        out = tmp_path / f"{name}.o"
        command = [*TOOLCHAIN._command(chosen, name, []), "-c", str(TOOLCHAIN.SOURCES / name)]
        TOOLCHAIN.compilers.run_compiler([*command, "-o", str(out)], plan.torch.cuda)
        if name in KERNELS:
            assert targets_in(out) == set(chosen.targets)


@pytest.fixture(scope="module")
def toolkit(tmp_path_factory) -> Path:
    """CUDA 12.9's headers and assembler, from the wheels of the package index."""
    folder = tmp_path_factory.mktemp("cuda12")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    pins = [f"{name}=={version}" for name, version in zip(WHEELS, VERSIONS, strict=True)]
    site = folder / "site"
    if subprocess.run([*pip, "--no-deps", "--target", site, *pins]).returncode:
        pytest.skip("the package index cannot be reached")
    for part in (site / "nvidia").iterdir():
        for name in ("include", "bin", "nvvm"):
            if (part / name).is_dir():
                shutil.copytree(part / name, folder / name, dirs_exist_ok=True)
    (folder / "lib").mkdir()
    (folder / "bin/ptxas").chmod(0o755)
    (folder / "include/curand_mtgp32_kernel.h").write_text("")
    (folder / "shim.h").write_text(SHIM)
    return folder


def test_clang_and_the_assembler_of_cuda_12_accept_the_kernels(toolkit, tmp_path):
    """For Volta to Hopper by Clang, and its PTX for Blackwell by the assembler."""
    clang = next((p for n in range(30, 15, -1) if (p := shutil.which(f"clang++-{n}"))), None)
    if clang is None:
        pytest.skip("there is no clang++-16 or newer here (Debian: apt-get install clang-19)")
    flags = ["-x", "cuda", "--cuda-device-only", f"--cuda-path={toolkit}", "-std=c++20", "-O3"]
    flags += ["-Wno-unknown-cuda-version", "-include", str(toolkit / "shim.h")]
    ptxas = str(toolkit / "bin/ptxas")
    for name in KERNELS:
        source = [str(TOOLCHAIN.SOURCES / name), "-o", str(tmp_path / "out")]
        for arch in (70, 80, 90):
            subprocess.run([clang, *flags, f"--cuda-gpu-arch=sm_{arch}", "-c", *source], check=True)
        subprocess.run([clang, *flags, "--cuda-gpu-arch=sm_90", "-S", *source], check=True)
        for arch in (100, 103, 120):
            out = ["-o", os.devnull, f"-arch=sm_{arch}"]
            subprocess.run([ptxas, *out, str(tmp_path / "out")], check=True)
