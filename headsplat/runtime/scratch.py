"""Resumable state of long sequential stages, keyed by what determines the result.

The folder is never a declared output: Snakemake removes declared outputs before it reruns a rule.
The same key continues; another key starts over, says what changed, and removes the old state.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headsplat.runtime.errors import UserError
from headsplat.runtime.files import read_json, write_json
from headsplat.runtime.fingerprint import file_digest
from headsplat.runtime.logs import log

KEY_FILE = "key.json"
_SHOWN = 3  # changes that are named one by one


@dataclass(frozen=True)
class StateKey:
    """What a stage's result depends on.

    Attributes:
        inputs: path -> SHA-256 of its content.
        parameters: name -> value.
        code: version of the stage's code.
    """

    inputs: Mapping[str, str]
    parameters: Mapping[str, Any]
    code: str

    @property
    def name(self) -> str:
        """Name of the state's folder; the inputs' contents and order count, not their paths."""
        parts = [*self.inputs.values(), _text(self.parameters), self.code]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    def changes_since(self, old: Mapping[str, Any]) -> str:
        """What makes this key another one than `old`, the content of a `KEY_FILE`."""
        changes = [
            f"{path} changed" if path in old["inputs"] else f"{path} is new"
            for path, digest in self.inputs.items()
            if old["inputs"].get(path) != digest
        ]
        changes += [f"{path} is gone" for path in old["inputs"] if path not in self.inputs]
        before, now = old["parameters"], json.loads(_text(self.parameters))
        changes += [
            f"{name} is {now.get(name)}, was {before.get(name)}"
            for name in sorted({*before, *now})
            if before.get(name) != now.get(name)
        ]
        changes += ["the code changed"] if old["code"] != self.code else []
        more = f" and {len(changes) - _SHOWN} more" if len(changes) > _SHOWN else ""
        return ", ".join(changes[:_SHOWN]) + more or "the inputs' order changed"


def state_key(inputs: Sequence[Path], parameters: dict[str, Any], code: str) -> StateKey:
    """Key of a run: its input files' contents, its parameters and its code."""
    return StateKey({str(path): file_digest(path) for path in inputs}, parameters, code)


class Scratch:
    """The keyed folder of one stage: `<root>/<key>/`, with the key's parts in `key.json`."""

    def __init__(self, root: Path | str, key: StateKey) -> None:
        root = Path(root)
        self.folder = root / key.name
        stale = [p for p in root.iterdir() if p.name != key.name] if root.is_dir() else []
        for path in stale:
            log.info("starting over: %s (since %s)", _why(key, path), path)
            shutil.rmtree(path, ignore_errors=True)
        if self.folder.is_dir():
            log.info("continuing from %s", self.folder)
        parts = {"inputs": key.inputs, "parameters": json.loads(_text(key.parameters))}
        write_json(self.folder / KEY_FILE, parts | {"code": key.code})

    def clear(self) -> None:
        """Forget the state; called once the stage's outputs are published."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _why(key: StateKey, stale: Path) -> str:
    try:
        return key.changes_since(read_json(stale / KEY_FILE))
    except (UserError, KeyError, TypeError, AttributeError):
        return "inputs, parameters or code changed"


def _text(parameters: Mapping[str, Any]) -> str:
    return json.dumps(dict(parameters), sort_keys=True, default=str)
