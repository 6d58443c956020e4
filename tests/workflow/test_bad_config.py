"""Every invalid configuration ends in one line that names the problem, and exit status 1."""

import pytest
import yaml

from headsplat_workflow.config import read_texts

from .conftest import Checkout

HEADER = "subject\tvideo\thead\tpreset\n"
DEMO = "demo\tbuiltin\tprocedural\tpreview\n"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ({"train": {"itres": 5}}, "'train.itres' is not an option"),
        ({"crop": {"sise": 128}}, "did you mean 'crop.size'?"),
        ({"crop": {"size": -1}}, "crop.size: -1 is less than the minimum"),
        ({"presets": {"preview": {"chunks": 0}}}, "presets.preview.chunks"),
    ],
)
def test_config(checkout: Checkout, override: dict, expected: str) -> None:
    (checkout.folder / "tiny.yaml").write_text(yaml.safe_dump(override))
    result = checkout.snakemake("-n")
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert expected in lines[0]
    assert lines[0].startswith("error: config/config.yaml or tiny.yaml: ")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (HEADER + DEMO + DEMO, "line 3: the subject 'demo' is listed twice"),
        (HEADER + DEMO.replace("demo", "a/b", 1), "'a/b' is no subject name"),
        (HEADER + "me\tnot_there.mp4\tict\tstandard\n", "the video 'not_there.mp4' of 'me'"),
        (HEADER + DEMO.replace("procedural", "smpl"), "unknown head 'smpl'"),
        (HEADER + DEMO.replace("preview", "fast"), "unknown preset 'fast'"),
        (HEADER, "lists no subject"),
        ("subject\tvideo\n" + DEMO, "the column 'head' is missing"),
    ],
)
def test_subjects(checkout: Checkout, table: str, expected: str) -> None:
    (checkout.folder / "config/subjects.tsv").write_text(table)
    result = checkout.snakemake("-n")
    assert result.returncode == 1
    assert expected in result.stderr
    assert "Traceback" not in result.stderr


def test_texts_of_the_command_line_become_numbers() -> None:
    config = {
        "view": {"port": "8700", "host": "1", "subject": "007"},
        "train": {"steps": "many", "code_noise": "1e-3", "seed": "[1]", "batch": "!!int "},
        "watchdog": {"idle": "~"},
        "evaluate": "no section",
        "presets": {"quick": {"train": {"steps": "12", "code_noise": ".5"}}, "odd": None},
    }
    read_texts(config)
    assert config["view"] == {"port": 8700, "host": "1", "subject": "007"}
    assert config["train"] == {
        "steps": "many",
        "code_noise": 1e-3,
        "seed": "[1]",
        "batch": "!!int ",
    }
    assert config["watchdog"] == {"idle": None}
    assert config["presets"]["quick"] == {"train": {"steps": 12, "code_noise": 0.5}}


def test_a_number_in_braces_is_taken_and_a_wrong_one_refused(checkout: Checkout) -> None:
    taken = checkout.snakemake("-n", "-q", "all", "--config", "view={port: 8700}")
    assert taken.returncode == 0, taken.stderr
    refused = checkout.snakemake("-n", "-q", "all", "--config", "view={port: 87x}")
    assert refused.returncode != 0
    assert "view.port: '87x' is not of type 'integer'" in refused.stderr
