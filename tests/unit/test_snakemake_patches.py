"""The Snakemake methods that the workflow patches are those that the patches were written for."""

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

from headsplat_workflow.snakemake_patches import BEYOND, FIRST, require_version

from headsplat.runtime.errors import UserError
from tests.conftest import ROOT

# Module: assumption -> the method and the digest of its syntax tree. After an upgrade, look
# at what changed in each method, then update its digest and the range of versions.
REPLACED: dict[str, tuple[Callable[..., Any], str]] = {
    "snakemake_patches: records a job by persistence.finished": (Job.postprocess, "4768074d4ac9"),
    "snakemake_patches: an attribute of the instance takes its place": (
        PersistenceBase.finished,
        "876d5d385e3e",
    ),
    "snakemake_patches: fills patterns by the module's function": (
        snakemake.io._IOFile.apply_wildcards,
        "905c7a01003a",
    ),
    "snakemake_patches: the pattern comes first": (snakemake.io.apply_wildcards, "f5bd79311437"),
    "refusals: reads dag_settings.targets after its call": (Workflow.execute, "a2e6eb234b1e"),
    "shutdown: starts no more jobs and waits for none": (
        JobScheduler.exit_gracefully,
        "a149a071c742",
    ),
    "dag: keeps the planned workflow": (WorkflowApi._workflow.fget, "8dcde8bacf96"),
}


def digest(function: Callable[..., Any]) -> str:
    """Hash of a function's syntax tree without its docstring."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    body = tree.body[0].body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        del body[0]
    return hashlib.sha256(ast.dump(tree).encode()).hexdigest()[:12]


@pytest.mark.parametrize("use", REPLACED)
def test_patched_methods_are_unchanged(use: str) -> None:
    function, known = REPLACED[use]
    assert digest(function) == known, f"{use}: Snakemake's {function.__qualname__} has changed"


def test_the_installed_version_is_in_the_range_and_pinned() -> None:
    require_version()
    pins = re.findall(r"^snakemake==(\S+) ", (ROOT / "requirements.lock").read_text(), re.M)
    assert pins == [FIRST]


@pytest.mark.parametrize("version", ["9.26.0", "9.27.0", BEYOND, "10.0"])
def test_another_version_is_refused(version: str) -> None:
    with pytest.raises(UserError, match=f"Snakemake {version} is not supported, only {FIRST}"):
        require_version(version)
