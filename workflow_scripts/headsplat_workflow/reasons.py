"""Snakemake's reasons for a job in few words, with the option that changed where it can be told."""

import ast
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from headsplat_workflow.refusals import RULE

from headsplat.runtime.errors import shown

CODE, NEW = "code changed", "new"
_FLAG, _ARGUMENT = re.compile(r"--([\w-]+) (\S+)"), re.compile(r"(?s)--([\w-]+)=(.+)")
_SHOWN = 2  # files that are named


def explain(job: Any, reason: Any) -> tuple[str, ...]:
    """Why a job would run; empty where it only follows from jobs before it.

    Args:
        job: Snakemake's job.
        reason: Snakemake's reason for it.
    """
    if job.rule.name == RULE:
        return (job.params.line,)
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
            was, now = (shown(values.get(option, "unset")) for values in (before, after))
            why.append(f"{name} {was} -> {now}")
    for value in sorted(new):
        name = names.get(value, "a parameter")
        if name == "code":
            why.insert(0, CODE)
        elif not _flags([value]) and not why:
            why.append(f"{name} changed to {shown(value)}")
    return why or ["parameters changed"]


def _flags(values: Iterable[str]) -> dict[str, str]:
    return {flag: value for text in values for word in _words(text) for flag, value in word}


def _words(text: str) -> list[list[tuple[str, str]]]:
    """Flags and values of a parameter: a list of arguments, or one text of several."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = text
    if isinstance(value, list):
        whole = (_ARGUMENT.fullmatch(word) for word in value if isinstance(word, str))
        return [[found.groups()] for found in whole if found]
    return [_FLAG.findall(str(value))]


def _some(files: list[str]) -> str:
    more = f" and {len(files) - _SHOWN} more" if len(files) > _SHOWN else ""
    return ", ".join(files[:_SHOWN]) + more
