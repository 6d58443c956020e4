"""Which GPU architectures the operators are compiled for."""

import platform

import pytest

from headsplat.gaussians.raster import extension
from headsplat.runtime.errors import UserError
from tests.unit.fake_compilers import ARCHS, compiler, gpu, installed

CUDA_12 = (50, 60, 70, 72, 75, 80, 86, 87, 89, 90, 100, 101, 120)
KNOWN = tuple(sorted(ARCHS))


@pytest.fixture
def toolchain(loader):
    return extension._toolchain()


@pytest.fixture
def architectures(toolchain):
    return toolchain.architectures


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("9.0", "90"),
        ("8.0;9.0+PTX", "80 90 ptx90"),
        ("8.6, 8.0 8.0", "80 86"),
        ("9.0a 10.0f", "90 100"),
        ("6.1 7.5", "75"),
        ("Ampere;Hopper+PTX", "80 86 90 ptx90"),
        ("Blackwell", "100 103 120 121"),
        ("Turing Volta", "75"),  # this compiler does not know Volta
    ],
)
def test_a_list_is_read_as_pytorch_reads_it(architectures, text, targets):
    assert architectures.listed(text, KNOWN) == tuple(targets.split())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("7.0", "has 7.0, which this CUDA compiler does not know .7.5 to 12.1.; leave it out"),
        ("13.9", "has 13.9, which"),
        ("native", "has 'native'; write versions such as 8.0;9.0"),
        ("9.0,-ptxas-options=-v", "has '-ptxas-options=-v'"),
        ("9.0+PTX+PTX", "has '9.0.PTX.PTX'"),
        ("$(touch /tmp/x)", r"has '\$.touch'"),
        ("9.0\n8.x", r"has '8.x'"),
        ("\x1b[31m", r"has '\\x1b\[31m'"),
        ("٩.٠", r"has '\\u0669"),
        ("9.0;" * 1000, r"has '9.0;9.0;.*\.\.\.; write"),
        (";;", "names no architecture from 7.0 on"),
        ("5.2 6.1+PTX", "names no architecture from 7.0 on"),
        ("Volta", "names no architecture from 7.0 on"),
    ],
)
def test_a_wrong_list_is_one_line(loader, monkeypatch, tmp_path, toolchain, text, told):
    gpu(monkeypatch)
    nvcc = compiler(tmp_path / "bin/nvcc")
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", text)
    with pytest.raises(UserError, match=f"headsplat's operators: TORCH_CUDA_ARCH_LIST {told}") as e:
        extension.load()
    assert "\n" not in str(e.value)
    assert str(e.value).isprintable()
    assert len(str(e.value)) < 250
    assert not (nvcc.parent / "nvcc.calls").exists()


def test_a_list_counts_only_for_a_pytorch_with_cuda(loader, monkeypatch):
    monkeypatch.setattr(extension.torch.version, "cuda", None)
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "nonsense")
    assert extension.load()["key"].endswith("-cpu")


@pytest.mark.parametrize(
    ("known", "x86", "targets"),
    [
        (KNOWN, True, "75 80 86 89 90 100 103 120 ptx120"),
        (CUDA_12, True, "70 75 80 86 89 90 100 120 ptx120"),
        (CUDA_12, False, "70 72 75 80 86 87 89 90 100 101 120 ptx120"),
        ((50, 70, 90), True, "70 90 ptx90"),
    ],
)
def test_all_architectures_are_those_that_the_compiler_knows(
    architectures, monkeypatch, known, x86, targets
):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64" if x86 else "aarch64")
    assert architectures.everything(known) == tuple(targets.split())
    assert architectures.listed("all", known) == tuple(targets.split())
    assert all(architectures.serve(targets.split(), gpu) for gpu in ("75", "90", "121", "130"))


@pytest.mark.parametrize(
    ("targets", "gpus", "others"),
    [
        ("80", "80 86 89", "75 87 90"),
        ("86", "86 89", "80"),
        ("87", "87", "86 89"),
        ("ptx80", "80 87 90 120", "75"),
        ("100", "100 103", "101 120"),
        ("110", "110", "120"),
        ("", "", "90"),
    ],
)
def test_which_gpus_code_runs_on(architectures, targets, gpus, others):
    serve = architectures.serve
    assert [gpu for gpu in gpus.split() if not serve(targets.split(), gpu)] == []
    assert [gpu for gpu in others.split() if serve(targets.split(), gpu)] == []


def test_a_gpu_newer_than_the_compiler_gets_code_that_runs_on_it(architectures):
    assert architectures.for_gpus(["90"], KNOWN) == ("90",)
    assert architectures.for_gpus(["90", "80"], KNOWN) == ("80", "90")
    assert architectures.for_gpus(["103"], (90, 100)) == ("100",)
    assert architectures.for_gpus(["120"], (80, 90)) == ("ptx90",)
    assert architectures.for_gpus(["90"], ()) == ("90",)


def test_only_the_gpus_here_are_compiled_for_and_a_wheel_serves_all(
    loader, monkeypatch, tmp_path, toolchain
):
    gpu(monkeypatch, (8, 0), (9, 0))
    nvcc = compiler(tmp_path / "bin/nvcc")
    assert extension.load()["key"].endswith("-80.90")
    commands = (nvcc.parent / "nvcc.calls").read_text().splitlines()
    assert len(commands) == sum(name.endswith(".cu") for name in toolchain._CUDA)
    codes = "-gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90,code=sm_90"
    assert all(codes in line and line.count("gencode") == 2 for line in commands)
    plan = toolchain.plan(extension.plan().torch, everywhere=True)
    assert plan.targets[0] == "75"
    assert plan.targets[-1] == "ptx120"
    assert plan.portable


def test_a_gpu_that_the_compiler_no_longer_knows(loader, monkeypatch, tmp_path):
    gpu(monkeypatch, (7, 0))
    compiler(tmp_path / "bin/nvcc")
    facts = extension.load()
    assert not facts["cuda"]
    assert "no code for compute capability 7.0, the GPU's, but for 7.5 to 12.1" in facts["no_cuda"]


def test_a_list_that_leaves_this_gpu_out(loader, monkeypatch, tmp_path):
    gpu(monkeypatch)
    compiler(tmp_path / "bin/nvcc")
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "7.5;8.0")
    facts = extension.load()
    assert not facts["cuda"]
    assert "(7.5, 8.0) leaves out this GPU's compute capability 9.0" in facts["no_cuda"]


def test_a_login_node_compiles_for_nodes_without_compilers(loader, monkeypatch, tmp_path):
    """Without a GPU the list decides; a node with a GPU then finds that library."""
    monkeypatch.setattr(extension.torch.version, "cuda", "13.0")
    nvcc = compiler(tmp_path / "bin/nvcc")
    assert extension.load()["key"].endswith("-cpu")
    monkeypatch.setattr(extension, "_loaded", None)
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "all")
    built = extension.load()
    assert built["cuda"]
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST")
    for program in (nvcc, tmp_path / "bin/c++"):
        program.unlink()
    for capability in ((7, 5), (8, 6), (9, 0), (12, 1)):
        gpu(monkeypatch, capability)
        monkeypatch.setattr(extension, "_loaded", None)
        assert extension.is_built()
        assert extension.load() == built


def test_damaged_facts_of_a_library_are_not_trusted(loader, monkeypatch, tmp_path):
    gpu(monkeypatch)
    compiler(tmp_path / "bin/nvcc")
    library = tmp_path / "libraries" / extension.load()["key"] / "headsplat_ops.so"
    for targets in ("[9]", '["90; rm"]', '"90"', "null"):
        facts = library.with_suffix(".json")
        facts.write_text(f'{{"sha256": "", "targets": {targets}}}')
        monkeypatch.setattr(extension, "_loaded", None)
        assert extension.load()["key"] == library.parent.name  # compiled again


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"FEATURES": ("avx2", "amx-of-2040")}, "needs amx-of-2040, which this processor lacks"),
        ({"SOURCES": "0" * 64}, "was built from other sources than this headsplat's"),
        ({"CXX11_ABI": "neither"}, "was built for another C.. ABI than this PyTorch's"),
        ({"TORCH": "0.0"}, "was built for torch 0.0, not "),
    ],
)
def test_a_package_for_another_machine_and_no_compiler_is_one_line(
    loader, monkeypatch, tmp_path, facts, told
):
    if not extension._toolchain().compilers.features() and "FEATURES" in facts:
        pytest.skip("this system does not list its processor's features")
    library = installed(monkeypatch, tmp_path, **facts)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=f"operators: {extension.PACKAGE} {told}") as error:
        extension.load()
    assert "no C++ compiler: install g++" in str(error.value)
    assert "\n" not in str(error.value)
    assert library not in loader
