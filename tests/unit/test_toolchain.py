"""Compiler errors and the resulting one-line messages."""

from pathlib import Path

import pytest

from tests.unit.fake_compilers import compiler, failing


@pytest.fixture
def toolchain(loader):
    """The compilers' module, away from the machine's own compilers."""
    from headsplat.gaussians.raster import extension

    return extension._toolchain()


def torch_for(toolchain, *gpus, cuda="13.0"):
    return toolchain.Torch("2.11", "/nowhere", cuda, gpus or ("90",), True)


@pytest.mark.parametrize(
    ("said", "does"),
    [
        ("nvcc fatal   : Unsupported gpu architecture 'compute_90'", "that knows this GPU"),
        ("nvcc fatal   : Value 'c++20' is not defined for option 'std'", "install the CUDA 13.0"),
        ("x.cu:1:10: fatal error: cuda_runtime.h: No such file or directory", "CUDA_HOME"),
        ("/usr/bin/ld: cannot find -lcudart: No such file\ncollect2: error: ld returned 1", "13.0"),
        ("ops.cpp:3:10: fatal error: torch/library.h: No such file or directory", "torch again"),
        (
            "torch/include/c10/cuda/CUDAMacros.h:9:10: fatal error: "
            "c10/cuda/impl/cuda_cmake_macros.h: No such file or directory",
            "torch again",
        ),
        (
            "torch/include/ATen/cuda/Exceptions.h:3:10: fatal error: cublas_v2.h: No such file",
            "CUDA_HOME",
        ),
        ("/usr/bin/ld: cannot find -ltorch_cpu\ncollect2: error: ld returned 1", "torch again"),
        ("c++: error: unrecognized command-line option '-std=c++20'", "g++ 11 or newer"),
        ("clang: error: unsupported option '-fopenmp'", "OpenMP"),
        ("/usr/bin/ld: cannot find -lgomp: No such file", "OpenMP"),
        ("c++: fatal error: Killed signal terminated program cc1plus", "free some memory"),
        ("nvcc error : 'cicc' died due to signal 9 (Kill signal)", "free some memory"),
        ("error: #error -- unsupported clang version! clang version must be less", "older g++"),
        ("cc1plus: fatal error: x.s: No space left on device", "free some disk space"),
    ],
)
def test_a_failure_names_its_remedy(toolchain, monkeypatch, tmp_path, said, does):
    compiler(tmp_path / "bin/nvcc")
    monkeypatch.setenv("CXX", str(compiler(tmp_path / "bin/broken", failing(said))))
    plan = toolchain.plan(torch_for(toolchain))
    with pytest.raises(toolchain.BuildError) as error:
        toolchain.build(plan, tmp_path / "out")
    line = str(error.value)
    assert line.startswith(f"broken failed ({said.splitlines()[0]}): ")
    assert does in line
    assert "\n" not in line
    assert said in error.value.output


def test_a_compiler_that_is_no_program(toolchain, monkeypatch, tmp_path):
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF of another machine")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    with pytest.raises(toolchain.BuildError, match="broken does not run .*install it again"):
        toolchain.build(toolchain.plan(torch_for(toolchain)), tmp_path / "out")


def test_a_compiler_that_dies_silently(toolchain, monkeypatch, tmp_path):
    monkeypatch.setenv("CXX", str(compiler(tmp_path / "dies", "kill -9 $$")))
    with pytest.raises(toolchain.BuildError, match=r"\(Killed by signal 9\): free some memory"):
        toolchain.build(toolchain.plan(torch_for(toolchain)), tmp_path / "out")


def test_a_compiler_that_fails_without_a_word(toolchain):
    with pytest.raises(toolchain.BuildError, match=r"^false failed \(exit status 1\)$"):
        toolchain.compilers.run_compiler(["/bin/false"], None)


def test_messages_of_a_compiler_need_not_be_utf8(toolchain, tmp_path):
    latin = compiler(tmp_path / "latin", "printf 'x.h: fatal error: \\351tat' >&2; exit 1")
    with pytest.raises(toolchain.BuildError, match="fatal error: \ufffdtat"):
        toolchain.compilers.run_compiler([str(latin), "-c"], None)


def test_cuda_home_goes_before_the_path(toolchain, monkeypatch, tmp_path):
    compiler(tmp_path / "bin/nvcc")
    home = tmp_path / "cuda"
    compiler(home / "bin/nvcc")
    monkeypatch.setenv("CUDA_HOME", str(home))
    plan = toolchain.plan(torch_for(toolchain))
    assert Path(plan.nvcc) == home / "bin/nvcc"
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "gone"))
    assert toolchain.plan(torch_for(toolchain)).targets == ("90",)


def test_the_key_tells_libraries_apart_and_the_compilers_their_failures(
    toolchain, monkeypatch, tmp_path
):
    nvcc = compiler(tmp_path / "bin/nvcc")
    plan = toolchain.plan(torch_for(toolchain))
    other_gpu = toolchain.plan(torch_for(toolchain, "80"))
    assert plan.key != other_gpu.key
    assert plan.compilers_hash == other_gpu.compilers_hash
    compiler(nvcc, version="2.0")
    assert toolchain.plan(torch_for(toolchain)).key == plan.key
    changed = plan.compilers_hash
    monkeypatch.setenv("NVCC_APPEND_FLAGS", "-allow-unsupported-compiler")
    assert len({changed, plan.compilers_hash}) == 2
