"""The container's files: known instructions, files that are there, one list of steps."""

import re
import subprocess
import tomllib

from tests.conftest import ROOT

DEFINITION = (ROOT / "container/headsplat.def").read_text()
INSTRUCTIONS = ("ARG", "FROM", "ENV", "WORKDIR", "COPY", "RUN", "CMD")


def instructions(text: str) -> list[tuple[str, str]]:
    """(instruction, rest) of a Containerfile without continued lines."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert not any(line.endswith("\\") for line in lines)
    return [tuple(line.split(maxsplit=1)) for line in lines]


CONTAINERFILE = instructions((ROOT / "Containerfile").read_text())


def test_containerfile_has_known_instructions_and_ends_in_the_demo() -> None:
    assert {name for name, _ in CONTAINERFILE} <= set(INSTRUCTIONS)
    assert CONTAINERFILE[-1] == ("CMD", '["make", "demo"]')


def test_every_machine_is_a_base() -> None:
    bases = [rest for name, rest in CONTAINERFILE if name == "FROM"]
    named = dict(reversed(base.split(" AS ")) for base in bases[:-1])
    assert named.keys() == {"cpu", "cuda12", "cuda13"}
    assert bases[-1] == "${MACHINE}"
    assert CONTAINERFILE[0] == ("ARG", "MACHINE=cpu")
    for machine in ("cuda12", "cuda13"):
        assert f":{machine[4:]}." in named[machine]
        assert "-devel-" in named[machine]  # with the compiler of the operators
        assert named[machine] in DEFINITION
    assert f"BASE={named['cpu']}" in DEFINITION
    # The constraint belongs to CUDA 12.
    after = CONTAINERFILE.index(("FROM", f"{named['cuda12']} AS cuda12"))
    assert CONTAINERFILE[after + 1] == ("ENV", "PIP_CONSTRAINT=/headsplat/requirements-cuda12.txt")


def test_both_images_take_the_same_steps() -> None:
    assert ("RUN", "sh container/install.sh") in CONTAINERFILE
    assert "\n    cd /headsplat\n    sh container/install.sh\n" in DEFINITION
    path = "PATH=/headsplat/.venv/bin:$PATH"
    assert ("ENV", path) in CONTAINERFILE
    assert f"%environment\n    export {path}\n" in DEFINITION
    subprocess.run(["sh", "-n", ROOT / "container/install.sh"], check=True)


def test_definition_has_known_sections_and_files_that_are_there() -> None:
    sections = re.findall(r"^%(\w+)", DEFINITION, re.M)
    assert sections == ["arguments", "files", "post", "environment"]
    used = set(re.findall(r"\{\{ (\w+) \}\}", DEFINITION))
    declared = set(re.findall(r"^    ([A-Z]+)=", DEFINITION.split("%files")[0], re.M))
    assert used == declared
    files = re.findall(r"^    (\S+) /headsplat/(\S+)$", DEFINITION, re.M)
    assert all(source == target and (ROOT / source).exists() for source, target in files)
    copied = {source for source, _ in files}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {"Makefile", "pyproject.toml", "requirements.lock", "requirements-torch.txt"}
    needed |= {project["readme"], *project["license-files"], "headsplat", "workflow_scripts"}
    assert needed <= copied


def test_what_git_ignores_stays_outside() -> None:
    left_out = (ROOT / ".dockerignore").read_text().splitlines()
    for pattern in (ROOT / ".gitignore").read_text().splitlines():
        name = pattern.strip("/")
        assert name in left_out or f"**/{name}" in left_out, pattern


def test_stages_name_the_image_that_the_definition_makes() -> None:
    (image,) = re.findall(r'^container: "(.*)"$', (ROOT / "Snakefile").read_text(), re.M)
    assert f"apptainer build {image} container/headsplat.def" in DEFINITION
