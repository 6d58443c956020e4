"""Every invalid configuration ends in one line that names the problem, and exit status 1."""

import pytest
import yaml

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
