"""The installed library: what the wheel holds, what it asks for, and where it builds operators."""

import ast
import re
import sys
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from headsplat.gaussians.raster import extension, library
from tests.conftest import ROOT
from tests.unit.package_files import build_wheel
from tests.unit.test_envs import LOCK, OPTIONAL, PACKAGES, pins_of

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    with zipfile.ZipFile(build_wheel(tmp_path_factory.mktemp("wheel"))) as archive:
        yield archive


def test_the_wheel_holds_the_library_and_the_operators_sources_alone(wheel) -> None:
    ours = {str(path.relative_to(ROOT)) for path in (ROOT / "headsplat").rglob("*.py")}
    sources = {path.name for path in (ROOT / "cuda_ext/csrc").iterdir()}
    assert len(sources) > 20
    data = {f"headsplat/_cuda_ext/csrc/{name}" for name in sources}
    drivers = ("architectures", "compilers", "toolchain")
    data |= {f"headsplat/_cuda_ext/{name}.py" for name in drivers} | {"headsplat/py.typed"}
    for page in ("web/page", "view/page"):
        data |= {str(path.relative_to(ROOT)) for path in (ROOT / "headsplat" / page).iterdir()}
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert held == ours | data


def test_the_metadata_says_what_the_project_file_does(wheel) -> None:
    (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    told = Parser().parsestr(wheel.read(name).decode())
    assert (told["Name"], told["Version"]) == ("headsplat", PROJECT["version"])
    assert set(told.get_all("Provides-Extra")) == EXTRAS.keys()
    assert "torch" in {Requirement(line).name for line in told.get_all("Requires-Dist")}
    (points,) = (name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert "headsplat = headsplat.command.main:main" in wheel.read(points).decode()


@pytest.mark.parametrize("line", [*PROJECT["dependencies"], *sum(EXTRAS.values(), [])])
def test_the_tested_versions_are_within_the_ranges(line) -> None:
    wanted = Requirement(line)
    name = canonicalize_name(wanted.name).removesuffix("-gpu")
    tested = pins_of("requirements-optional.txt") | LOCK
    assert name in tested
    assert wanted.specifier.contains(tested[name])


def test_all_that_the_library_imports_is_asked_for() -> None:
    imported = set()
    for path in (ROOT / "headsplat").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.split(".")[0])
    ours = {"headsplat", "headsplat_workflow", extension.PACKAGE}
    foreign = imported - sys.stdlib_module_names - ours - OPTIONAL.keys()
    asked = {
        Requirement(line).name
        for line in [*PROJECT["dependencies"], *EXTRAS["onnx"], *EXTRAS["live"]]
    }
    assert {PACKAGES.get(name, name) for name in foreign} == asked


def test_the_operators_alone_have_the_librarys_version() -> None:
    alone = tomllib.loads((ROOT / "cuda_ext/pyproject.toml").read_text())["project"]
    assert alone["version"] == PROJECT["version"]
    assert re.fullmatch(r"\d+\.\d+\.\d+", PROJECT["version"])


@pytest.mark.parametrize(
    ("chosen", "cache", "checkout", "expected"),
    [
        ("/somewhere", "/cache", True, "/somewhere"),
        (None, "/cache", True, f"{ROOT}/work/cuda_ext"),
        (None, "/cache", False, "/cache/headsplat/cuda_ext"),
        (None, "relative", False, "/home/anna/.cache/headsplat/cuda_ext"),
        (None, None, False, "/home/anna/.cache/headsplat/cuda_ext"),
    ],
)
def test_where_built_operators_are_kept(
    monkeypatch, tmp_path, chosen, cache, checkout, expected
) -> None:
    for name, value in (("HEADSPLAT_EXT_DIR", chosen), ("XDG_CACHE_HOME", cache)):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", "/home/anna")
    if not checkout:
        monkeypatch.setattr(library, "ROOT", tmp_path)
    assert library.folder() == Path(expected)
