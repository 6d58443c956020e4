"""Snakemake is a version whose methods are those that the workflow's replacements were made for."""

import ast
import hashlib
import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
import snakemake.io
from snakemake.api import WorkflowApi
from snakemake.cli import main  # noqa: F401 - before its parts, which import each other
from snakemake.jobs import Job
from snakemake.persistence import PersistenceBase
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake.workflow import Workflow

from headsplat_workflow.snakemake_version import BEYOND, FIRST, require_version

from headsplat.runtime.errors import UserError
from tests.conftest import ROOT

# Method -> what its replacement rests on, and the digest of its syntax tree. After an upgrade, look
# at what changed in each, then state the new digest and the new range.
REPLACED: dict[str, tuple[Callable[..., Any], str]] = {
    "failed_jobs: books a job by persistence.finished": (Job.postprocess, "4768074d4ac9"),
    "failed_jobs: an attribute of the instance takes its place": (
        PersistenceBase.finished,
        "876d5d385e3e",
    ),
    "literal_names: fills patterns by the module's function": (
        snakemake.io._IOFile.apply_wildcards,
        "905c7a01003a",
    ),
    "literal_names: the pattern comes first": (snakemake.io.apply_wildcards, "f5bd79311437"),
    "refusals: reads dag_settings.targets after its call": (Workflow.execute, "a2e6eb234b1e"),
    "shutdown: starts no more jobs and waits for none": (
        JobScheduler.exit_gracefully,
        "a149a071c742",
    ),
    "dag: keeps the planned workflow": (WorkflowApi._workflow.fget, "8dcde8bacf96"),
}


def digest(function: Callable[..., Any]) -> str:
    """Of what a function does: comments, formatting and docstrings left out."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    body = tree.body[0].body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        del body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12]


@pytest.mark.parametrize("use", REPLACED)
def test_replaced_methods_are_those_that_were_looked_at(use: str) -> None:
    function, known = REPLACED[use]
    assert digest(function) == known, f"{use}: Snakemake's {function.__qualname__} has changed"


def test_the_installed_version_is_in_the_range_and_pinned() -> None:
    require_version()
    pins = re.findall(r"^snakemake==(\S+)$", (ROOT / "requirements.lock").read_text(), re.M)
    assert pins == [FIRST]


@pytest.mark.parametrize("version", ["9.26.0", "9.27.0", BEYOND, "10.0"])
def test_another_version_is_refused(version: str) -> None:
    with pytest.raises(UserError, match=f"Snakemake {version} is not supported, only {FIRST}"):
        require_version(version)
