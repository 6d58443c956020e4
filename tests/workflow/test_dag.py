"""The workflow as Snakemake sees it, without running a stage."""

import re
import subprocess
import sys

import pytest

from .conftest import ROOT, Checkout

RULES = {
    name: body
    for file in sorted((ROOT / "rules").glob("*.smk"))
    for name, body in re.findall(
        r"^rule (\w+):\n(.*?)(?=^\S|\Z)", file.read_text(), flags=re.M | re.S
    )
}
CHORES = ("assets_check", "fetch_assets", "plan", "status", "doctor")


def test_lint_is_clean(checkout: Checkout) -> None:
    result = checkout.snakemake("--lint")
    assert result.returncode == 0, result.stdout + result.stderr


def test_dry_run_plans_the_demo(checkout: Checkout) -> None:
    jobs = checkout.planned()
    assert jobs["detect_chunk"] == jobs["matte_chunk"] == 2
    assert jobs["train_avatar"] == jobs["write_report"] == 1


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_rule_is_complete(name: str) -> None:
    body = RULES[name]
    # What makes no file runs whenever it is asked for; a benchmark would count as its file.
    files = () if name in CHORES else ("output", "benchmark")
    for part in (*files, "params", "log", "threads", "resources", "conda", "shell"):
        assert re.search(rf"^    {part}:", body, flags=re.M), f"{name} has no {part}"
    assert '"""' in body, f"{name} has no docstring"
    assert f"exec python workflow_scripts/{name}.py" in body
    assert "mem_mb=" in body
    assert "runtime=" in body
    # A head's code is that of its builder, which the table names.
    code = "head_code" if name == "build_head" else f'code_version("{name}"'
    assert f"code={code}" in body
    assert (ROOT / "workflow_scripts" / f"{name}.py").is_file()


def test_every_script_has_a_rule() -> None:
    scripts = {path.stem for path in (ROOT / "workflow_scripts").glob("*.py")}
    assert scripts == set(RULES)


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_script_runs_by_hand(name: str) -> None:
    script = ROOT / "workflow_scripts" / f"{name}.py"
    assert len(script.read_text().splitlines()) <= 90
    result = subprocess.run(
        [sys.executable, script, "--help"], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage:")


def test_the_literal_runpod_command_plans(checkout: Checkout) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "snakemake", "--profile", "runpod", "-j", "4", "-n"],
        cwd=checkout.folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "train_avatar" in result.stdout + result.stderr
