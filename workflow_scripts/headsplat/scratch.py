"""Resumable state of long sequential stages, keyed by what determines the result.

The folder is never a declared output: Snakemake removes declared outputs before it reruns a rule.
The same key continues; another key starts over, and old keys of the stage are removed.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

from headsplat.cli import log


def file_digest(path: Path | str) -> str:
    """SHA-256 of a file's bytes, read in blocks."""
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def state_key(inputs: list[Path], parameters: dict[str, Any], code: str) -> str:
    """Key of a run: its input files' contents, its parameters and its code."""
    parts = [file_digest(path) for path in inputs]
    parts += [json.dumps(parameters, sort_keys=True, default=str), code]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


class Scratch:
    """The keyed folder of one stage: `<root>/<key>/`."""

    def __init__(self, root: Path | str, key: str) -> None:
        root = Path(root)
        self.folder = root / key
        stale = [p for p in root.iterdir() if p.name != key] if root.is_dir() else []
        for path in stale:
            shutil.rmtree(path, ignore_errors=True)
        if self.folder.is_dir():
            log.info("continuing from %s", self.folder)
        elif stale:
            log.info("inputs, parameters or code changed since %s: starting over", stale[0])
        self.folder.mkdir(parents=True, exist_ok=True)

    def clear(self) -> None:
        """Forget the state; called once the stage's outputs are published."""
        shutil.rmtree(self.folder, ignore_errors=True)
