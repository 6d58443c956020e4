"""The configuration, its schema and the scripts' defaults agree."""

import yaml

from headsplat_workflow.config import load_schema

from headsplat.runtime import watchdog_launcher
from headsplat.train.options import MODELS, all_options, train_options

from .conftest import ROOT

CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())
SCHEMA = load_schema(ROOT / "config/schema.yaml")


def test_training_defaults_equal_the_configuration() -> None:
    defaults = [train_options(model=model).values() for model in MODELS]
    for values in defaults:
        assert {k: v for k, v in values.items() if k != "model"}.items() <= CONFIG["train"].items()
    assert CONFIG["train"].keys() == all_options().keys()
    assert CONFIG["train"]["model"] == train_options().model


def test_watchdog_defaults_equal_the_configuration() -> None:
    assert tuple(CONFIG["watchdog"].values()) == watchdog_launcher.DEFAULT_MINUTES


def test_every_option_has_a_default_and_a_description() -> None:
    for section, definition in SCHEMA["$defs"].items():
        properties = definition.get("properties", {})
        if properties:
            assert set(CONFIG[section]) == set(properties), section
        for name, option in properties.items():
            assert option["description"], f"{section}.{name}"
