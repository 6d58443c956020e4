"""Configuration, schema, pages and scripts have their options from one place."""

import subprocess
import sys

import pytest
import yaml

from headsplat_workflow.config import fill_in, validate
from headsplat_workflow.sections import PRESETS, SECTIONS, defaults, schema
from headsplat_workflow.write_options import readme_text, schema_text

from headsplat.runtime.errors import UserError
from headsplat.train.options import MODELS, train_options

from .conftest import ROOT

CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())


def test_the_configuration_states_every_default() -> None:
    assert defaults() | {"presets": PRESETS} == CONFIG
    for model in MODELS:
        values = train_options(model=model).values()
        assert {k: v for k, v in values.items() if k != "model"}.items() <= CONFIG["train"].items()


def test_the_written_schema_and_tables_are_those_of_the_options() -> None:
    stale = "is stale; run `make options`"
    assert (ROOT / "config/schema.yaml").read_text() == schema_text(), f"schema.yaml {stale}"
    assert yaml.safe_load(schema_text()) == schema()
    readme = (ROOT / "config/README.md").read_text()
    assert readme == readme_text(readme), f"README.md {stale}"
    rows = [line.split("|")[1].strip() for line in readme.splitlines() if line.startswith("| `")]
    for section in SECTIONS.values():
        assert {f"`{name}`" for name in section.properties()} <= set(rows)


def test_every_option_has_a_description() -> None:
    for name, section in SECTIONS.items():
        for option, value in section.properties().items():
            assert value["description"], f"{name}.{option}"


def test_a_short_configuration_is_filled_in() -> None:
    config: dict = {"train": {"steps": 5}, "presets": {"standard": {}}}
    fill_in(config)
    validate(config, "config.yaml")
    assert config["train"] == defaults()["train"] | {"steps": 5}
    assert config["presets"] == {"standard": {}}
    empty: dict = {}
    fill_in(empty)
    assert empty == CONFIG
    broken: dict = {"train": None}
    fill_in(broken)
    with pytest.raises(UserError, match="config.yaml: train: None is not of type 'object'"):
        validate(broken, "config.yaml")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"builtin": {"seconds": float("nan")}}, "builtin.seconds: nan is not possible"),
        ({"watchdog": {"idle": float("inf")}}, "watchdog.idle: inf is not possible"),
        ({"web": {"motions": "../x"}}, "web.motions: '../x' is not possible; give motions that"),
        ({"chunks": "4"}, "chunks: '4' is not possible; give a whole number or 'auto'"),
    ],
)
def test_values_outside_of_all_ranges_are_one_line(given: dict, message: str) -> None:
    fill_in(given)
    with pytest.raises(UserError, match=f"config.yaml: {message}"):
        validate(given, "config.yaml")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("mouth", "mouth_weight"),
        ("ssim", "ssim_weight"),
        ("lpips", "lpips_weight"),
        ("coarse", "coarse_fraction"),
        ("jitter", "code_noise"),
        ("profile", "profile_steps"),
    ],
)
def test_a_former_name_gets_the_new_one(old: str, new: str) -> None:
    with pytest.raises(UserError) as caught:
        validate(CONFIG | {"train": {old: 1}}, "my.yaml")
    line = f"my.yaml: 'train.{old}' is not an option; did you mean 'train.{new}'?"
    assert str(caught.value) == line


@pytest.mark.parametrize(
    ("script", "section", "flags"),
    [
        ("detect_chunk", "detect", ("model", "second")),
        ("solve_crop", "crop", ("size",)),
        ("split_frames", "split", ("mode",)),
    ],
)
def test_a_script_offers_the_options_of_its_section(
    script: str, section: str, flags: tuple[str, ...]
) -> None:
    command = [sys.executable, f"workflow_scripts/{script}.py", "--help"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert tuple(CONFIG[section]) == flags
    for name in flags:
        assert f"--{name.replace('_', '-')}" in text
        assert f"(default: {CONFIG[section][name]})" in " ".join(text.split())
