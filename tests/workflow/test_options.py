"""The configuration, its schema and the scripts' defaults say the same."""

from dataclasses import asdict

import yaml

from headsplat.runtime import watching
from headsplat.train.options import TrainOptions

from .conftest import ROOT

CONFIG = yaml.safe_load((ROOT / "config/config.yaml").read_text())
SCHEMA = yaml.safe_load((ROOT / "config/schema.yaml").read_text())


def test_training_defaults_equal_the_configuration() -> None:
    assert CONFIG["train"] == asdict(TrainOptions())


def test_a_stage_started_by_hand_is_watched_as_in_the_workflow() -> None:
    assert tuple(CONFIG["watchdog"].values()) == watching.DEFAULT_MINUTES


def test_every_option_has_a_default_and_a_description() -> None:
    for section, definition in SCHEMA["$defs"].items():
        properties = definition.get("properties", {})
        if properties:
            assert set(CONFIG[section]) == set(properties), section
        for name, option in properties.items():
            assert option["description"], f"{section}.{name}"
