"""docs/benchmarks.md and the README's numbers are those of benchmarks/results."""

import json

import pytest

from benchmarks import page
from benchmarks.body_table import body_rows
from tests.unit.pages import ROOT


def test_the_page_is_up_to_date():
    assert (ROOT / page.PAGE).read_text() == page.page(ROOT), "run: python benchmarks/page.py"


def test_the_numbers_of_the_readme_are_up_to_date():
    readme = (ROOT / page.README).read_text()
    expected = page.with_headlines(readme, page.headlines(ROOT))
    assert readme == expected, "run: python benchmarks/page.py"


def test_every_result_is_on_the_page():
    text = (ROOT / page.PAGE).read_text()
    for path in (ROOT / page.RESULTS).glob("*.json"):
        assert page.read_rows(ROOT, path.stem)[0]["what"] in text


def test_a_new_result_gets_a_section(tmp_path):
    (tmp_path / page.RESULTS).mkdir(parents=True)
    rows = [{"what": "speed", "value": 3, "unit": "m/s"}]
    (tmp_path / page.RESULTS / "training_gpu.json").write_text(json.dumps(rows))
    (tmp_path / page.RESULTS / "wind.json").write_text(json.dumps(rows))
    text = page.page(tmp_path)
    assert text.index("## Training") < text.index("## wind") < text.index("benchmarks/wind.py")


def test_every_command_is_a_script():
    commands = [section.command for section in page.SECTIONS if section.command]
    for command in commands:
        assert (ROOT / command.split()[1]).exists()


@pytest.mark.parametrize(
    ("row", "goal"),
    [
        (
            {"what": "training", "value": 900, "unit": "images/s", "target": 1000},
            "1,000: **missed**",
        ),
        ({"what": "training", "value": 1100, "unit": "images/s", "target": 1000}, "1,000"),
        ({"what": "error", "value": 0.3, "unit": "mm", "target": 0.2}, "0.2: **missed**"),
        ({"what": "lids, correlation", "value": 0.8, "unit": "", "target": 0.9}, "0.9: **missed**"),
        ({"what": "time", "value": "1 to 2", "unit": "s", "target": "2: missed"}, "2: missed"),
        ({"what": "time", "value": 3, "unit": "s", "target": None}, ""),
    ],
)
def test_missed_goals_are_marked(row, goal):
    assert page.goal_of(row) == goal


def test_a_changed_result_changes_the_page(tmp_path):
    results = tmp_path / page.RESULTS
    results.mkdir(parents=True)
    for file in (ROOT / page.RESULTS).glob("*.json"):
        (results / file.name).write_text(file.read_text())
    rows = json.loads((results / "demo.json").read_text())
    rows[0]["value"] = 4321
    (results / "demo.json").write_text(json.dumps(rows))
    assert "4,321 s" in page.page(tmp_path)
    assert "4,321 s" in page.headlines(tmp_path)


def test_rows_of_the_body_name_masks_and_goals():
    figures = {"median_1": 0.1, "median_16": 0.3}
    edge = {"median": 0.2, "worst_frame": 4.0, "jumps": 0.0}
    scores = {
        "old": {"psnr_head": [31.0], "old_psnr_head": [32.0], "old_psnr_edge": [20.0]},
        "new": {"psnr_head": [35.0, 37.0], "psnr_edge": [22.0], "psnr_full": [28.0]},
    }
    result = {
        "machine": "here", "scores": scores, "cut": {"new": edge},
        "trunk": {"trunk": figures, "stiff": figures},
        "rates": dict.fromkeys(
            ("single_head", "single_torso", "single_slower", "batched_head", "batched_torso",
             "batched_slower"), 1.4,
        ),
    }  # fmt: skip
    rows = {row["what"]: row for row in body_rows({"clip": result})}
    own = rows["clip: psnr_head, each with its own masks"]
    assert (own["value"], own["peer_value"], own["machine"]) == (36.0, 32.0, "here")
    assert page.goal_of(rows["clip: psnr_edge, each with its own masks"]) == "22.5: **missed**"
    assert page.goal_of(rows["clip: psnr_full with torso"]) == "29: **missed**"
    worst = rows["clip: change of the masks' lower edge, worst frame"]
    assert page.goal_of(worst) == "3: **missed**"
    assert page.goal_of(rows["clip: slowdown by the torso, one at a time"]) == "1.5"
    assert page.table(list(rows.values()), False)
