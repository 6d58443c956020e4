"""Snakemake's reasons for a job in few words, with the option that changed where it can be told."""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

CODE, NEW = "code changed", "new"
_FLAG = re.compile(r"--([\w-]+) (\S+)")
_SHOWN = 2  # files that are named


def explain(job: Any, reason: Any) -> tuple[str, ...]:
    """Why a job would run; empty where it only follows from jobs before it.

    Args:
        job: Snakemake's job.
        reason: Snakemake's reason for it.
    """
    why = []
    if reason.forced:
        why.append("forced")
    if reason.incomplete_output:
        why.append("interrupted")
    elif reason.missing_output:
        gone = sorted(reason.missing_output)
        all_missing = not any(Path(file).exists() for file in job.output)
        why.append(NEW if all_missing else f"output missing: {_some(gone)}")
    if reason.params_changed:
        names = {repr(value): name for name, value in job.params.items()}
        change = reason.params_changed
        why += explain_params(change.only_old, change.only_new, names)
    if reason.code_changed:
        why.append("command changed")
    if reason.software_stack_changed:
        why.append("environment changed")
    if reason.input_changed:
        why.append("other input files")
    updated = reason.updated_input - reason.updated_input_run
    if updated:
        why.append(f"input changed: {_some(sorted(updated))}")
    return tuple(why)


def explain_params(
    old: Collection[str], new: Collection[str], names: Mapping[str, str]
) -> list[str]:
    """What changed between the parameters of two runs.

    Args:
        old: representations of the values that only the last run had.
        new: of those that only this one has.
        names: representation -> name of the parameter, of this run.
    """
    why, before, after = [], _flags(old), _flags(new)
    for option in sorted(before.keys() | after.keys()):
        if before.get(option) != after.get(option):
            name = option.replace("-", "_")
            why.append(f"{name} {before.get(option, 'unset')} -> {after.get(option, 'unset')}")
    for value in sorted(new):
        name = names.get(value, "a parameter")
        if name == "code":
            why.insert(0, CODE)
        elif not _FLAG.search(value) and not why:
            why.append(f"{name} changed to {value}")
    return why or ["parameters changed"]


def _flags(values: Iterable[str]) -> dict[str, str]:
    return {flag: value for text in values for flag, value in _FLAG.findall(text.strip("'\""))}


def _some(files: list[str]) -> str:
    more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    return ", ".join(files[:_SHOWN]) + more
