"""The lock, the files beside it, and conda's: exact pins that agree, all that a stage imports."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from headsplat_workflow.codehash import _PLUGIN, SCRIPTS, _module_file
from headsplat_workflow.codehash import PACKAGES as PACKAGES_OF_OURS

from tests.conftest import ROOT

ENVIRONMENTS = sorted(path.stem for path in (ROOT / "envs").glob("*.yaml"))
OF_STAGES = [name for name in ENVIRONMENTS if name != "parity"]
# Rules that read the tables of plug-ins and load none.
READ_TABLES = ("assets_check", "fetch_assets")
SCRIPT_OF = {f"import_{part}_chunk": "import_chunk" for part in ("frames", "alpha", "parsing")}
RULES = {
    name: found[1]
    for file in sorted((ROOT / "rules").glob("*.smk"))
    for name, body in re.findall(
        r"^rule (\w+):\n(.*?)(?=^\S|\Z)", file.read_text(), flags=re.M | re.S
    )
    if (found := re.search(r'conda:\s+"\.\./envs/(\w+)\.yaml"', body))
}
# Import name -> name on the package index, where they differ.
PACKAGES = {
    "ai_edge_litert": "ai-edge-litert",
    "cv2": "opencv-contrib-python-headless",
    "PIL": "pillow",
}
OPTIONAL = {
    "face_alignment": "face-alignment",
    "mediapipe": "mediapipe",
    "pocketsphinx": "pocketsphinx",
    "pyvirtualcam": "pyvirtualcam",
}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
# requirements-<group>.txt; the group `build` is in the lock itself.
GROUPS = {name: lines for name, lines in PROJECT["dependency-groups"].items() if name != "build"}


def environment(name: str) -> dict:
    return yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())


def pins(text: str) -> dict[str, str]:
    """Package -> version of the lines of a requirements file; markers and hashes are left out."""
    lines = (line.rstrip(" \\").split(" ; ")[0] for line in text.splitlines())
    kept = [line for line in lines if line and not line.startswith(("#", "--", "    --hash="))]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", line) for line in kept), kept
    found = {re.sub("_", "-", line.split("==")[0]).lower(): line.split("==")[1] for line in kept}
    assert len(found) == len(kept)  # one version for every Python and machine
    return found


def pip_section(name: str) -> dict[str, str]:
    return pins("\n".join(environment(name)["dependencies"][-1]["pip"]))


def pins_of(*names: str) -> dict[str, str]:
    return {key: v for name in names for key, v in pins((ROOT / name).read_text()).items()}


LOCK = pins_of("requirements.lock", "requirements-torch.txt")


def third_party(*scripts: Path, plugins: bool = True) -> set[str]:
    """What scripts and the modules they reach import from elsewhere, inside functions too."""
    todo, seen, found = [*scripts], set(), set()
    while todo:
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
            elif plugins and isinstance(node, ast.Constant) and isinstance(node.value, str):
                plugin = _PLUGIN.fullmatch(node.value)
                names = {plugin[1]} if plugin else set()
            else:
                continue
            for name in names:
                top = name.split(".")[0]
                if top in PACKAGES_OF_OURS:
                    todo += [file for file in [_module_file(name)] if file]
                elif top not in sys.stdlib_module_names:
                    found.add(top)
    return found


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_form(name):
    content = environment(name)
    assert list(content) == ["channels", "dependencies"]
    # No other channel: `nodefaults` keeps out those of the user's own settings.
    assert content["channels"] == ["conda-forge", "nodefaults"]
    plain = [entry for entry in content["dependencies"] if isinstance(entry, str)]
    assert all(re.fullmatch(r"[\w-]+ ?=[\w.]+(=[\w.*]+)?", entry) or entry == "cxx-compiler"
               for entry in plain), plain  # fmt: skip
    assert len({entry.split()[0] for entry in plain}) == len(plain)


@pytest.mark.parametrize("name", OF_STAGES)
def test_pips_section_is_last_and_equals_the_lock(name):
    content = environment(name)["dependencies"]
    assert [isinstance(entry, dict) for entry in content] == [False] * (len(content) - 1) + [True]
    assert list(content[-1]) == ["pip"]
    assert any(entry.startswith("pip =") for entry in content[:-1])
    assert "python =3.12" in content
    assert pip_section(name).items() <= LOCK.items()


def test_every_stage_has_an_environment_and_every_environment_a_stage():
    scripts = {path.stem for path in SCRIPTS.glob("*.py")}
    assert scripts & RULES.keys() >= {"probe_video", "track_head", "train_avatar", "write_report"}
    assert set(RULES.values()) == set(OF_STAGES)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_an_environment_has_all_that_its_stage_imports(rule):
    have = pip_section(RULES[rule])
    scripts = [SCRIPTS / f"{SCRIPT_OF.get(rule, rule)}.py"]
    if rule == "build_head":  # it is given the name of a builder in this table
        scripts.append(_module_file("headsplat.heads.registry"))
    needed = third_party(*scripts, plugins=rule not in READ_TABLES)
    assert "numpy" in needed
    missing = {PACKAGES.get(name, name) for name in needed - OPTIONAL.keys()} - have.keys()
    assert not missing


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_additions_leave_the_lock_alone(group):
    extra = pins_of(f"requirements-{group}.txt")
    assert extra
    assert not extra.keys() & LOCK.keys()


def test_additions_go_together():
    found: dict[str, str] = {}
    for group in GROUPS:
        for name, version in pins_of(f"requirements-{group}.txt").items():
            assert found.setdefault(name, version) == version


@pytest.mark.parametrize("name", ["requirements.lock", *(f"requirements-{g}.txt" for g in GROUPS)])
def test_every_pin_has_hashes_and_no_index_is_named(name):
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert "--index" not in text
    for start in re.split(r"(?m)^(?=[A-Za-z0-9])", text)[1:]:
        assert re.search(r"\n    --hash=sha256:[0-9a-f]{64}", start), start.split("\n")[0]


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_what_a_group_asks_for_is_pinned(group):
    known = LOCK | pins_of(f"requirements-{group}.txt")
    for line in GROUPS[group]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(known[wanted.name])


def test_the_lock_fits_the_project_file():
    project = PROJECT["project"]
    for line in [*project["dependencies"], *project["optional-dependencies"]["workflow"]]:
        wanted = Requirement(line)
        assert wanted.specifier.contains(LOCK[wanted.name])


def test_cuda_twelve_is_the_same_pytorch():
    assert pins_of("requirements-cuda12.txt") == {"torch": f"{LOCK['torch']}+cu126"}


def test_optional_imports_are_pinned():
    extra = pins_of("requirements-optional.txt")
    assert set(OPTIONAL.values()) <= extra.keys()
    assert extra["onnxruntime-gpu"] == LOCK["onnxruntime"]
    assert extra["opencv-python"] == LOCK["opencv-contrib-python-headless"]
    again = f"opencv-contrib-python-headless=={extra['opencv-python']}\n"
    text = (ROOT / "requirements-optional.txt").read_text()
    assert again in text
    assert extra["opencv-contrib-python"] == extra["opencv-python"]
    for name in ("absl-py", "matplotlib", "mediapipe"):  # in the advice and as a pin
        assert len(re.findall(rf"\b{name}=={re.escape(extra[name])}(?!\S)", text)) == 2
