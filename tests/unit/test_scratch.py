"""Keyed scratch: the same key continues, another one starts over and says what changed."""

from pathlib import Path

import pytest

from headsplat.runtime.files import read_json
from headsplat.runtime.scratch import KEY_FILE, Scratch, StateKey, state_key


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "track.npz", tmp_path / "split.json"]
    for path in paths:
        path.write_text(path.name)
    return paths


def opened(root: Path, key: StateKey, caplog) -> tuple[Scratch, str]:
    caplog.clear()
    with caplog.at_level("INFO"):
        scratch = Scratch(root, key)
    return scratch, " ".join(record.getMessage() for record in caplog.records)


def test_the_same_key_continues(tmp_path: Path, inputs, caplog) -> None:
    root, key = tmp_path / "scratch", state_key(inputs, {"steps": 30}, "c0de")
    first, said = opened(root, key, caplog)
    assert said == ""
    (first.folder / "state").write_text("half done")
    # The same contents elsewhere are the same inputs.
    moved = [path.rename(path.with_name(f"moved-{path.name}")) for path in inputs]
    second, said = opened(root, state_key(moved, {"steps": 30}, "c0de"), caplog)
    assert (second.folder / "state").read_text() == "half done"
    assert said == f"continuing from {first.folder}"
    second.clear()
    assert not second.folder.exists()


@pytest.mark.parametrize(
    ("edit", "parameters", "code", "why"),
    [
        ("another track", {"steps": 30, "seed": 0}, "c0de", "{track} changed"),
        (None, {"steps": 40, "seed": 0}, "c0de", "steps is 40, was 30"),
        (None, {"steps": 30}, "c0de", "seed is None, was 0"),
        (None, {"steps": 30, "seed": 0}, "ed1t", "the code changed"),
        ("x", {"steps": 1, "seed": 2}, "ed1t", "{track} changed, seed is 2, was 0, steps is 1"),
    ],
)
def test_another_key_starts_over_and_says_why(
    tmp_path: Path, inputs, caplog, edit, parameters, code, why
) -> None:
    root = tmp_path / "scratch"
    old, _ = opened(root, state_key(inputs, {"steps": 30, "seed": 0}, "c0de"), caplog)
    (old.folder / "state").write_text("half done")
    if edit:
        inputs[0].write_text(edit)
    new, said = opened(root, state_key(inputs, parameters, code), caplog)
    assert said.startswith("starting over: " + why.format(track=inputs[0]))
    assert not old.folder.exists()
    assert [path.name for path in new.folder.iterdir()] == [KEY_FILE]


def test_inputs_that_come_and_go_are_named(tmp_path: Path, inputs, caplog) -> None:
    root = tmp_path / "scratch"
    opened(root, state_key(inputs[:1], {}, "c0de"), caplog)
    _, said = opened(root, state_key(inputs, {}, "c0de"), caplog)
    assert f"{inputs[1]} is new" in said
    _, said = opened(root, state_key(inputs[1:], {}, "c0de"), caplog)
    assert f"{inputs[0]} is gone" in said
    assert read_json(next(root.iterdir()) / KEY_FILE)["parameters"] == {}


def test_a_state_without_a_readable_key_is_no_obstacle(tmp_path: Path, inputs, caplog) -> None:
    root = tmp_path / "scratch"
    for name, text in (("0ld", None), ("damaged", "{"), ("other", "[]")):
        (root / name).mkdir(parents=True)
        if text:
            (root / name / KEY_FILE).write_text(text)
    new, said = opened(root, state_key(inputs, {}, "c0de"), caplog)
    assert said.count("starting over: inputs, parameters or code changed") == 3
    assert list(root.iterdir()) == [new.folder]
