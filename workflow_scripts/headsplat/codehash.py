"""What a stage's code is: a hash of the syntax trees a script reaches by static imports.

A comment, a docstring, formatting or a fresh checkout does not change it; an edit in any module
that the script imports does. Snakemake reruns a job when one of its params changes, so every rule
carries this hash among its params.
"""

import ast
import functools
import hashlib
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1]
PACKAGE = Path(__file__).resolve().parent.name


def _module_file(module: str) -> Path | None:
    base = SCRIPTS / module.replace(".", "/")
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


@functools.cache
def _read(path: Path) -> tuple[str, frozenset[Path]]:
    tree = ast.parse(path.read_text())
    modules: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    files = (_module_file(m) for m in modules if m.split(".")[0] == PACKAGE)
    digest = hashlib.sha256(ast.dump(_strip_docstrings(tree)).encode()).hexdigest()
    return digest, frozenset(f for f in files if f)


@functools.cache
def code_version(script: str, *extra: str) -> str:
    """Hash of `workflow_scripts/<script>.py` and every headsplat module it imports.

    Args:
        script: the rule's name.
        extra: further files (relative to the repository root) whose bytes count, e.g. kernels.
    """
    todo, seen = [SCRIPTS / f"{script}.py"], {}
    while todo:
        path = todo.pop()
        if path not in seen:
            seen[path], imported = _read(path)
            todo.extend(imported)
    for name in extra:
        path = SCRIPTS.parent / name
        seen[path] = hashlib.sha256(path.read_bytes()).hexdigest()
    return hashlib.sha256("".join(seen[p] for p in sorted(seen)).encode()).hexdigest()[:12]
