"""Rules, scripts, stage table and plans agree, without running a stage."""

import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from headsplat_workflow.motion_row import BUILTIN_SENTENCE
from headsplat_workflow.stages import STAGES, stages_of
from headsplat_workflow.subjects import read_subjects

from tests.unit.video_files import make_video

from .conftest import ROOT, Checkout

_RULE = r"^(?:rule|use rule (?P<base>\w+) as) (?P<name>\w+)(?: with)?:\n(?P<body>.*?)(?=^\S|\Z)"


def sections(body: str) -> dict[str, str]:
    """Keyword -> text of a rule's sections; the text before them is under ''."""
    first, *parts = re.split(r"^    (?=\w+:)", body, flags=re.M)
    return {"": first} | {part.partition(":")[0]: f"    {part}" for part in parts}


def read_rules() -> dict[str, str]:
    """Rule -> its text; for `use rule ... with`, the merged text."""
    rules: dict[str, str] = {}
    for file in sorted((ROOT / "rules").glob("*.smk")):
        for found in re.finditer(_RULE, file.read_text(), flags=re.M | re.S):
            parts = sections(found["body"])
            if found["base"]:
                parts = sections(rules[found["base"]]) | parts | {"": '    """As its base."""\n'}
            rules[found["name"]] = "".join(parts.values())
    return rules


RULES = read_rules()
# Rules whose script has another name.
SCRIPTS = {name: name for name in RULES} | {
    f"import_{part}_chunk": "import_chunk" for part in ("frames", "alpha", "parsing")
}
SCRIPTS |= {
    "drive_with_alpha": "drive_avatar",
    "export_spz": "export_ply",
    "export_gaussians": "export_ply",
    "export_motion_sequence": "export_sequence",
    "export_motion_mesh": "export_mesh",
}
WILDCARDS = ("chunk", "head", "motion", "pose", "format")
CHORES = ("assets_check", "fetch_assets", "plan", "status", "subjects", "view", "doctor")


def test_snakemake_lint_is_clean(checkout: Checkout) -> None:
    result = checkout.snakemake("--lint")
    assert result.returncode == 0, result.stdout + result.stderr


def test_dry_run_plans_the_demo(checkout: Checkout) -> None:
    jobs = checkout.planned()
    assert jobs["detect_chunk"] == jobs["matte_chunk"] == 2
    assert jobs["train_avatar"] == jobs["write_report"] == 1


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_rule_has_all_sections(name: str) -> None:
    body = RULES[name]
    # Rules without output run whenever requested; a benchmark file would count as output.
    files = () if name in CHORES else ("output", "benchmark")
    for part in (*files, "params", "log", "threads", "resources", "conda", "shell"):
        assert re.search(rf"^    {part}:", body, flags=re.M), f"{name} has no {part}"
    assert '"""' in body, f"{name} has no docstring"
    script = SCRIPTS[name]
    assert f'exec python "$HEADSPLAT_SCRIPTS"/{script}.py' in body
    assert "mem_mb=" in body
    assert "runtime=" in body
    # The code hash of build_head includes the builder that the registry names.
    code = "head_code" if name == "build_head" else f'code_version("{script}"'
    assert f"code={code}" in body
    assert (ROOT / "workflow_scripts" / f"{script}.py").is_file()


def test_every_script_has_a_rule() -> None:
    scripts = {path.stem for path in (ROOT / "workflow_scripts").glob("*.py")}
    assert scripts == set(SCRIPTS.values())


@pytest.mark.parametrize("name", sorted(set(SCRIPTS.values())))
def test_every_script_prints_help(name: str) -> None:
    script = ROOT / "workflow_scripts" / f"{name}.py"
    assert len(script.read_text().splitlines()) <= 90
    result = subprocess.run(
        [sys.executable, script, "--help"], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage:")


def test_documented_runpod_command_plans(checkout: Checkout) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", "--profile", "runpod", "-j", "4", "-n"],
        cwd=checkout.folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "train_avatar" in result.stdout + result.stderr


def test_stage_table_matches_the_rules() -> None:
    made = {name for name, body in RULES.items() if "output" in sections(body)} - {"refuse"}
    assert made == STAGES.keys()
    for name, stage in STAGES.items():
        parts = sections(RULES[name])
        output = parts["output"].replace("BUILTIN_CLIP", '"work/builtin/demo.mp4"')
        output = output.replace("motion_row.BUILTIN_SENTENCE", f'"{BUILTIN_SENTENCE}"')
        assert re.search(r'"([^"]+)"', output)[1] == stage.output
        log = re.search(r'"([^"]+)"', parts["log"])[1]
        folder = "logs/{subject}" if "{subject}" in stage.output else "logs/assets"
        rest = "".join(f"/{{{name}}}" for name in WILDCARDS if f"{{{name}}}" in stage.output)
        assert log == f"{folder}/{name}{rest}.log"
        if "{subject}" not in stage.output:
            assert stage.condition is None, f"{name} is of no subject"


@pytest.mark.parametrize(
    "row",
    [
        "a.mp4\tprocedural\tpreview\t\t",
        "-\tprocedural\tpreview\tflashavatar:data\t",
        "-\tprocedural\tpreview\tmetrical-tracker:data\tchkpnt.pth",
    ],
)
def test_stages_of_a_subject_match_the_planned_rules(
    checkout: Checkout, row: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout.folder)
    (checkout.folder / "data").mkdir()
    for name in ("a.mp4", "chkpnt.pth"):
        (checkout.folder / name).write_bytes(b"planning looks at names only")
    table = Path("config/subjects.tsv")
    table.write_text(f"subject\tvideo\thead\tpreset\timport\tavatar\none\t{row}\n")
    presets = yaml.safe_load(Path("config/config.yaml").read_text())["presets"]
    planned = checkout.planned("all")
    stages = stages_of(read_subjects(table, presets)["one"])
    assert {stage.rule: 2 if stage.chunked else 1 for stage in stages} == {
        name: count for name, count in planned.items() if STAGES[name].condition is not None
    }


def test_longer_clip_has_more_chunks(checkout: Checkout) -> None:
    for name, seconds in (("short", 10), ("long", 32)):
        make_video(checkout.folder / f"{name}.mp4", range(5 * seconds), Fraction(1, 5))
    rows = "".join(f"{name}\t{name}.mp4\tprocedural\tstandard\n" for name in ("short", "long"))
    table = checkout.folder / "config/subjects.tsv"
    table.write_text(f"subject\tvideo\thead\tpreset\n{rows}")
    planned = checkout.planned("all")
    assert planned["probe_video"] == 2
    assert {planned[f"{name}_chunk"] for name in ("detect", "crop", "matte", "parse")} == {4 + 8}
