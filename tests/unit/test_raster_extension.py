import json
import subprocess
import sys
from pathlib import Path

import pytest

from headsplat.errors import UserError
from headsplat.raster import extension

SCRIPTS = Path(extension.__file__).resolve().parents[2]


@pytest.fixture
def fresh(monkeypatch):
    """The loader as in a process that has not loaded yet; nothing is really loaded twice."""
    monkeypatch.setattr(extension, "_loaded", None)
    monkeypatch.setattr(extension.torch.ops, "load_library", lambda path: None)


def test_stamp_names_the_library(tmp_path):
    command = [sys.executable, SCRIPTS / "build_cuda_ext.py", "--out", tmp_path / "build.json"]
    subprocess.run(command, check=True)
    stamp = json.loads((tmp_path / "build.json").read_text())
    assert Path(stamp["library"]).is_file()
    assert stamp["torch"] == extension.torch.__version__


def test_no_compiler_is_one_clear_line(fresh, monkeypatch, tmp_path):
    monkeypatch.setenv("HEADSPLAT_EXT_DIR", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match="no C\\+\\+ compiler: install") as error:
        extension.load()
    assert "\n" not in str(error.value)


def test_a_card_without_nvcc_leaves_the_cpu(monkeypatch):
    toolchain = extension._toolchain()
    monkeypatch.setattr(toolchain, "_find_nvcc", lambda: None)
    facts = toolchain.Torch("2.11", "/nowhere", "13.0", "90", True)
    plan = toolchain.plan(facts)
    assert not plan.cuda
    assert "install the CUDA 13.0 toolkit" in plan.no_cuda
    monkeypatch.setattr(extension, "_loaded", {"cuda": False, "no_cuda": plan.no_cuda})
    extension.require(extension.torch.device("cpu"))
    with pytest.raises(UserError, match="no nvcc: install the CUDA 13.0 toolkit"):
        extension.require(extension.torch.device("cuda"))


def test_a_card_too_old_is_named():
    toolchain = extension._toolchain()
    plan = toolchain.plan(toolchain.Torch("2.11", "/nowhere", "12.8", "61", True))
    assert not plan.cuda
    assert "compute capability 61" in plan.no_cuda


def test_failed_compilation_quotes_the_compiler_and_leaves_nothing(fresh, monkeypatch, tmp_path):
    compiler = tmp_path / "broken"
    compiler.write_text("#!/bin/sh\necho 'file.h: error: no such thing' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("HEADSPLAT_EXT_DIR", str(tmp_path / "libraries"))
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(UserError, match="no such thing"):
        extension.load()
    published = [p for p in (tmp_path / "libraries").iterdir() if not p.name.startswith(".")]
    assert [p.name for p in published] == ["build.lock"]


def test_a_wheel_for_another_torch_is_not_used(fresh, monkeypatch, tmp_path, caplog):
    package = tmp_path / extension.PACKAGE
    package.mkdir()
    (package / "__init__.py").write_text("LIBRARY = 'x.so'\nTORCH = '0.0'\nCUDA = False\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, extension.PACKAGE, raising=False)
    assert extension.load()["key"] is not None
    assert "built for torch 0.0" in caplog.text


def test_four_jobs_build_once(tmp_path):
    """Each compiler call leaves a line; four processes at once leave as many lines as one."""
    count = tmp_path / "calls"
    compiler = tmp_path / "counting"
    compiler.write_text(
        "#!/usr/bin/env python3\n"
        "import pathlib, sys\n"
        "if '-o' not in sys.argv: sys.exit()\n"
        f"open({str(count)!r}, 'a').write('x\\n')\n"
        "pathlib.Path(sys.argv[sys.argv.index('-o') + 1]).write_text('')\n"
    )
    compiler.chmod(0o755)
    code = (
        "from headsplat.raster import extension as e; e.torch.ops.load_library = lambda p: None;"
        "e.load()"
    )
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(SCRIPTS),
        "CXX": str(compiler),
        "HEADSPLAT_EXT_DIR": str(tmp_path / "libraries"),
    }
    jobs = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(4)]
    assert [job.wait(timeout=60) for job in jobs] == [0] * 4
    assert len(count.read_text().splitlines()) == 4  # three sources and the link
