"""Hash a stage's code: the syntax trees of all modules that its script imports.

Comments, docstrings, formatting and a fresh checkout do not change the hash. An edit in any module
that the script imports statically does. Registry entries, "headsplat.module:attribute"
(`headsplat.registry`), count as imports of the module that contains them.

Every rule has this hash among its params, because Snakemake reruns a job when a param changes.
"""

import ast
import functools
import hashlib
import json
import re
import sys
from contextlib import suppress
from pathlib import Path

from headsplat.runtime.errors import UserError
from headsplat.runtime.files import write_json

SCRIPTS = Path(__file__).resolve().parents[1]
ROOT = SCRIPTS.parent
# Package -> folder that contains it.
PACKAGES = {"headsplat": ROOT, "headsplat_workflow": SCRIPTS}

# Modules excluded from the hash: they start, watch and end a stage but cannot change its output.
# Never list a module here that computes results.
_HARNESS = frozenset(
    PACKAGES[name.split(".")[0]] / f"{name.replace('.', '/')}.py"
    for name in (
        "headsplat.runtime.errors",
        "headsplat.runtime.failures",
        "headsplat.runtime.gpu",
        "headsplat.runtime.heartbeat",
        "headsplat.runtime.logs",
        "headsplat.runtime.memory",
        "headsplat.runtime.process",
        "headsplat.runtime.progress",
        "headsplat.runtime.stopping",
        "headsplat.runtime.storage",
        "headsplat.runtime.watchdog",
        "headsplat.runtime.watchdog_launcher",
        "headsplat_workflow.codehash",
        "headsplat_workflow.stage",
    )
)

_PLUGIN = re.compile(r"((?:headsplat|headsplat_workflow)(?:\.\w+)+):\w+")

# Of one file: the hash of its syntax tree, and the modules of both packages that it may import.
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
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            plugin = _PLUGIN.fullmatch(node.value)
            modules |= {plugin[1]} if plugin else set()
    digest = hashlib.sha256(ast.dump(_strip_docstrings(tree)).encode()).hexdigest()
    return digest, sorted(m for m in modules if m.split(".")[0] in PACKAGES)


def _read(path: Path) -> _Source:
    if path not in _sources:
        _sources[path] = _parse(path)
    return _sources[path]


def read_sources(memo: Path) -> None:
    """Hash all source files; unchanged ones are read from the cache file `memo`.

    Parsing them takes longer than the rest of planning one subject.

    Args:
        memo: JSON cache file, written if anything changed.
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
def code_version(script: str, *extra: str, modules: tuple[str, ...] = ()) -> str:
    """Hash `workflow_scripts/<script>.py` and the modules it imports that can change results.

    Args:
        script: the rule's name.
        extra: further files (relative to the repository root) whose bytes count, e.g. kernels.
        modules: further modules that the script imports dynamically, by name.
    """
    todo, seen = [SCRIPTS / f"{script}.py"], {}
    todo += [file for module in modules if (file := _module_file(module))]
    while todo:
        path = todo.pop()
        if path not in seen:
            seen[path], imported = _read(path)
            files = (_module_file(module) for module in imported)
            todo.extend(file for file in files if file and file not in _HARNESS)
    for name in extra:
        path = ROOT / name
        seen[path] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256("".join(seen[p] for p in sorted(seen)).encode()).hexdigest()[:12]
