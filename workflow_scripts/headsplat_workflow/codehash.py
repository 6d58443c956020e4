"""What a stage's code is: a hash of the syntax trees a script reaches by static imports.

A comment, a docstring, formatting or a fresh checkout does not change it; an edit in any module
that the script imports does. Snakemake reruns a job when one of its params changes, so every rule
carries this hash among its params.
"""

import ast
import functools
import hashlib
import json
import sys
from contextlib import suppress
from pathlib import Path

from headsplat.runtime.errors import UserError
from headsplat.runtime.files import write_json

SCRIPTS = Path(__file__).resolve().parents[1]
ROOT = SCRIPTS.parent
# Where the library and the workflow's support modules lie.
PACKAGES = {"headsplat": ROOT, "headsplat_workflow": SCRIPTS}

# Modules that start, watch and end a stage and cannot change what it writes: an edit in one of
# them reruns nothing. A module in which results are computed must not stand here.
_HARNESS = frozenset(
    PACKAGES[name.split(".")[0]] / f"{name.replace('.', '/')}.py"
    for name in (
        "headsplat.runtime.control_group",
        "headsplat.runtime.errors",
        "headsplat.runtime.gpu",
        "headsplat.runtime.heartbeat",
        "headsplat.runtime.logs",
        "headsplat.runtime.memory",
        "headsplat.runtime.process",
        "headsplat.runtime.progress",
        "headsplat.runtime.stopping",
        "headsplat.runtime.storage",
        "headsplat.runtime.watchdog",
        "headsplat.runtime.watching",
        "headsplat_workflow.codehash",
        "headsplat_workflow.stage",
    )
)

# Of one file: the hash of its syntax tree, and the names of the package's modules it may import.
_Source = tuple[str, list[str]]
_sources: dict[Path, _Source] = {}


@functools.cache
def _module_file(module: str) -> Path | None:
    base = PACKAGES[module.split(".")[0]] / module.replace(".", "/")
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.exists():
            return candidate
    return None


def _strip_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
            and isinstance(body[0].value.value, str)
        ):
            node.body = body[1:]
    return tree


def _parse(path: Path) -> _Source:
    tree = ast.parse(path.read_text())
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    digest = hashlib.sha256(ast.dump(_strip_docstrings(tree)).encode()).hexdigest()
    return digest, sorted(m for m in modules if m.split(".")[0] in PACKAGES)


def _read(path: Path) -> _Source:
    if path not in _sources:
        _sources[path] = _parse(path)
    return _sources[path]


def read_sources(memo: Path) -> None:
    """Read all sources; of those that were not written since the last time, what `memo` says.

    Parsing them takes longer than the rest of planning one subject.

    Args:
        memo: a JSON file, which is made and kept up to date; without it everything is parsed.
    """
    reader = [sys.version, hashlib.sha256(Path(__file__).read_bytes()).hexdigest()]
    try:
        kept = json.loads(memo.read_text())
        known = kept["sources"] if kept["reader"] == reader else {}
    except (OSError, ValueError, KeyError, TypeError):
        known = {}
    sources = {}
    for path in sorted([*SCRIPTS.rglob("*.py"), *(ROOT / "headsplat").rglob("*.py")]):
        status = path.stat()
        stamp = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
        entry = known.get(str(path))
        if entry is not None and entry[0] == stamp:
            _sources[path] = tuple(entry[1])
        sources[str(path)] = [stamp, _read(path)]
    if sources.keys() != known.keys() or any(sources[k][0] != known[k][0] for k in sources):
        with suppress(UserError):  # planning does not need a disk that can be written
            write_json(memo, {"reader": reader, "sources": sources})


@functools.cache
def code_version(script: str, *extra: str) -> str:
    """Hash of `workflow_scripts/<script>.py` and the modules it imports that can change results.

    Args:
        script: the rule's name.
        extra: further files (relative to the repository root) whose bytes count, e.g. kernels.
    """
    todo, seen = [SCRIPTS / f"{script}.py"], {}
    while todo:
        path = todo.pop()
        if path not in seen:
            seen[path], modules = _read(path)
            files = (_module_file(module) for module in modules)
            todo.extend(file for file in files if file and file not in _HARNESS)
    for name in extra:
        path = ROOT / name
        seen[path] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256("".join(seen[p] for p in sorted(seen)).encode()).hexdigest()[:12]
