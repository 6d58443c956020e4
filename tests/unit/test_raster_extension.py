"""Finding, building and loading the compiled operators, and error messages."""

import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headsplat.gaussians.raster import extension
from headsplat.runtime.errors import UserError
from tests.conftest import PYTHON_PATH, ROOT
from tests.unit.fake_compilers import GOOD, calls, compiler, failing, gpu, installed

SCRIPTS = ROOT / "workflow_scripts"
CUDA_EXT = ROOT / "cuda_ext"


@pytest.fixture
def really(loader, monkeypatch):
    """Load real libraries; none of them registers an operator."""
    monkeypatch.setattr(extension.torch.ops, "load_library", REAL_LOAD)


REAL_LOAD, REAL_PATH = extension.torch.ops.load_library, os.environ["PATH"]


def test_stamp_names_the_library(tmp_path):
    command = [sys.executable, SCRIPTS / "build_cuda_ext.py", "--out", tmp_path / "build.json"]
    subprocess.run(command, check=True)
    stamp = json.loads((tmp_path / "build.json").read_text())
    assert Path(stamp["library"]).is_file()
    assert stamp["torch"] == extension.torch.__version__


def test_no_compiler_is_one_clear_line(loader, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="no C\\+\\+ compiler: install g\\+\\+") as error:
        extension.load()
    assert "\n" not in str(error.value)
    assert "no-such-compiler is not there" in str(error.value)


def test_failed_compilation_quotes_the_compiler_and_leaves_nothing(loader, monkeypatch, tmp_path):
    broken = compiler(
        tmp_path / "broken", failing("In file x\nfile.h:3: error: no such thing\nand")
    )
    monkeypatch.setenv("CXX", str(broken))
    with pytest.raises(UserError, match=r"broken failed \(file.h:3: error: no such thing\)") as e:
        extension.load()
    assert "\n" not in str(e.value)
    (report,) = (tmp_path / "libraries").glob("*.failed")
    assert str(report) in str(e.value)
    assert "In file x\nfile.h:3" in report.read_text()
    assert {p.name for p in (tmp_path / "libraries").iterdir()} == {"build.lock", report.name}
    # The next attempt is possible.
    compiler(broken)
    assert Path(extension.load()["library"]).is_file()
    assert not report.exists()


@pytest.mark.parametrize(
    ("said", "again"),
    [
        ("nvcc error : 'cicc' died due to signal 9 (Kill signal)", True),
        ("fatal error: x.o: No space left on device", True),
        ("x.h: error: no such thing", False),
    ],
)
def test_a_failed_gpu_build_is_retried_if_it_may_succeed(
    loader, monkeypatch, tmp_path, said, again
):
    gpu(monkeypatch)
    nvcc = compiler(tmp_path / "bin/nvcc", failing(said))
    facts = extension.load()
    assert said in facts["no_cuda"]
    assert ("remove that file" in facts["no_cuda"]) != again
    compiler(nvcc)
    monkeypatch.setattr(extension, "_loaded", None)
    assert extension.load()["cuda"] == again
    left = {path.suffix for path in (tmp_path / "libraries").iterdir()}
    assert (".failed" in left) != again
    assert ".broken-off" not in left


def test_a_folder_that_cannot_be_written_is_named(loader, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HEADSPLAT_EXT_DIR", str(tmp_path / "file" / "libraries"))
    with pytest.raises(UserError, match="libraries cannot be written .*set HEADSPLAT_EXT_DIR"):
        extension.load()


def test_a_package_for_this_torch_is_used(loader, monkeypatch, tmp_path):
    library = installed(monkeypatch, tmp_path)
    assert extension.load()["library"] == library
    assert loader == [library]


def test_a_package_for_another_torch_is_not_used(loader, monkeypatch, tmp_path, caplog):
    library = installed(monkeypatch, tmp_path, TORCH="0.0")
    assert extension.load()["key"] is not None
    assert "was built for torch 0.0" in caplog.text
    assert library not in loader


def test_a_damaged_package_is_not_used(loader, monkeypatch, tmp_path, caplog):
    library = installed(monkeypatch, tmp_path, content=b"whole")
    Path(library).write_bytes(b"whale")
    assert extension.load()["key"] is not None
    assert "is damaged" in caplog.text
    assert "pip install ./cuda_ext rebuilds it" in caplog.text
    assert library not in loader


def test_a_package_without_its_facts_is_not_used(loader, monkeypatch, tmp_path, caplog):
    installed(monkeypatch, tmp_path)
    package = tmp_path / "site" / extension.PACKAGE
    shutil.copy(CUDA_EXT / extension.PACKAGE / "__init__.py", package)
    assert extension.load()["key"] is not None
    assert "is broken" in caplog.text
    assert "build.json" in caplog.text


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "NaN", '{"sha256": ', ""])
def test_a_package_with_damaged_facts_is_not_used(loader, monkeypatch, tmp_path, caplog, text):
    installed(monkeypatch, tmp_path)
    package = tmp_path / "site" / extension.PACKAGE
    shutil.copy(CUDA_EXT / extension.PACKAGE / "__init__.py", package)
    (package / "build.json").write_text(text)
    assert extension.load()["key"] is not None
    assert "is broken" in caplog.text


def test_a_compiler_that_writes_nothing_is_one_clear_line(loader, monkeypatch):
    monkeypatch.setenv("CXX", "/bin/true")
    with pytest.raises(UserError, match="/bin/true has written nothing: set CXX to a C\\+\\+ comp"):
        extension.load()


@pytest.mark.parametrize(
    ("targets", "told"),
    [((), "was built without CUDA kernels"), (("80",), "for compute capability 8.0, and the GPU")],
)
def test_a_package_without_gpu_support_is_replaced_by_a_build(
    loader, monkeypatch, tmp_path, targets, told
):
    gpu(monkeypatch)
    library = installed(monkeypatch, tmp_path, TARGETS=targets)
    # Without nvcc it still supports the CPU.
    facts = extension.load()
    assert (facts["library"], facts["cuda"]) == (library, False)
    assert told in facts["no_cuda"]
    assert "no nvcc: install the CUDA 13.0 toolkit" in facts["no_cuda"]
    monkeypatch.setattr(extension, "_loaded", None)
    compiler(tmp_path / "bin/nvcc")
    facts = extension.load()
    assert facts["cuda"]
    assert facts["key"] is not None


@pytest.mark.parametrize(
    ("targets", "whole"),
    [
        (("80",), True),
        (("86",), True),
        (("89",), False),
        (("75", "89"), False),
        (("75", "ptx75"), True),
        (("90", "ptx90"), False),
    ],
)
def test_a_package_serves_later_minor_gpu_versions(loader, monkeypatch, tmp_path, targets, whole):
    gpu(monkeypatch, (8, 6))
    installed(monkeypatch, tmp_path, TARGETS=targets)
    assert extension.load()["cuda"] == whole


def test_a_package_that_cannot_be_loaded_is_replaced_by_a_build(
    really, monkeypatch, tmp_path, caplog
):
    installed(monkeypatch, tmp_path, content=b"not a library")
    # The build, too, is an empty file here.
    with pytest.raises(UserError, match="cannot be loaded .*remove .* to rebuild it"):
        extension.load()
    assert "x.so cannot be loaded" in caplog.text
    assert "pip install ./cuda_ext rebuilds it" in caplog.text


def test_an_undefined_symbol_is_one_clear_line(really, monkeypatch, tmp_path):
    source = tmp_path / "stale.cpp"
    source.write_text("extern int of_another_torch();\nint here() { return of_another_torch(); }\n")
    stale = tmp_path / "stale.so"
    command = ["g++", "-shared", "-fPIC", source, "-o", stale]
    subprocess.run(command, check=True, env={"PATH": REAL_PATH})
    takes = f'for word in "$@"; do [ "$last" = -o ] && cp {stale} "$word"; last=$word; done'
    compiler(tmp_path / "bin/c++", takes)
    with pytest.raises(UserError, match="undefined symbol.*of_another_torch.*remove") as error:
        extension.load()
    assert "\n" not in str(error.value)


def setup(folder):
    """The command that builds the package into `folder` and writes nothing elsewhere."""
    command = [sys.executable, "-B", "setup.py", "-q", "egg_info", "--egg-base", folder]
    return [*command, "build", "--build-base", folder]


def test_setup_writes_what_the_loader_reads(loader, monkeypatch, tmp_path):
    subprocess.run(setup(tmp_path), cwd=CUDA_EXT, check=True)
    (package,) = tmp_path.glob(f"lib*/{extension.PACKAGE}")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.delitem(sys.modules, extension.PACKAGE)
    importlib.invalidate_caches()
    assert extension.load()["library"] == str(package / "headsplat_ops.so")
    assert (package / "headsplat_ops.so").is_file()


def test_setup_ends_in_one_line(monkeypatch, tmp_path):
    broken = compiler(tmp_path / "broken", failing("x.h: error: no such thing"))
    environment = {"CXX": str(broken), "PATH": "/usr/bin:/bin"}
    run = subprocess.run(
        setup(tmp_path), cwd=CUDA_EXT, env=environment, capture_output=True, text=True
    )
    assert run.returncode == 1
    last = run.stderr.splitlines()[-1]
    assert last == "headsplat_cuda_ext: broken failed (x.h: error: no such thing)"


@pytest.mark.parametrize(
    "damage",
    [
        lambda library: os.truncate(library, library.stat().st_size * 6 // 10),
        lambda library: library.write_bytes(library.read_bytes()[:-1] + b"?"),
        lambda library: library.with_suffix(".json").unlink(),
        lambda library: library.with_suffix(".json").write_text("[]"),
        lambda library: library.unlink(),
    ],
)
def test_a_damaged_library_is_rebuilt_and_never_loaded(
    loader, monkeypatch, tmp_path, caplog, damage
):
    fake = compiler(tmp_path / "bin/c++", GOOD.replace(": >", "echo code >"))
    facts = extension.load()
    library, once = Path(facts["library"]), calls(fake)
    assert facts["sha256"] == hashlib.sha256(b"code\n").hexdigest()
    monkeypatch.setattr(extension, "_loaded", None)
    assert extension.load() == facts
    assert calls(fake) == once
    damage(library)
    assert not extension.is_built()
    monkeypatch.setattr(extension, "_loaded", None)
    loader.clear()
    assert extension.load() == facts
    assert library.read_text() == "code\n"
    assert calls(fake) == 2 * once
    assert caplog.text.count("damaged or has no checksum: rebuilding it") == 1
    assert extension.is_built()
    left = {path.name for path in library.parent.parent.iterdir()}
    assert left == {"build.lock", library.parent.name}


def test_four_jobs_build_once(tmp_path):
    """Each compiler call leaves a line; four processes at once leave as many lines as one."""
    fake = compiler(tmp_path / "counting")
    code = (
        "from headsplat.gaussians.raster import extension as e;"
        "e.torch.ops.load_library = lambda p: None;"
        "e.load()"
    )
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": PYTHON_PATH,
        "CXX": str(fake),
        "HEADSPLAT_EXT_DIR": str(tmp_path / "libraries"),
        "CUDA_VISIBLE_DEVICES": "",
    }
    jobs = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(4)]
    assert [job.wait(timeout=60) for job in jobs] == [0] * 4
    # The sources, the link, and a trial of OpenMP.
    assert calls(fake) == len(extension._toolchain()._CPU) + 2
