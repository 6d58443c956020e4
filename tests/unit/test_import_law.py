"""Import rules between packages; run as a script, this file prints the package graph.

A package is a folder; each module at the top of `headsplat` counts as a package of its own. An
edge leads from a package to one that it imports, within functions too.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "workflow_scripts"
Graph = dict[str, set[str]]


@cache
def modules() -> dict[str, Path]:
    """Every module of the library and of the workflow's support by its dotted name."""
    found = {}
    for package, base in (("headsplat", ROOT), ("headsplat_workflow", SCRIPTS)):
        for path in sorted((base / package).rglob("*.py")):
            dotted = ".".join(path.relative_to(base).with_suffix("").parts)
            found[dotted.removesuffix(".__init__")] = path
    return found | {f"workflow_scripts.{path.stem}": path for path in sorted(SCRIPTS.glob("*.py"))}


def statements(tree: ast.AST, within_functions: bool) -> Iterator[ast.Import | ast.ImportFrom]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif within_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from statements(node, within_functions)


def names(tree: ast.AST, within_functions: bool = True) -> set[str]:
    """Dotted names that some code imports; of `from a import b`, a.b where that is a module."""
    found = set()
    for node in statements(tree, within_functions):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            assert not node.level, "imports within the packages are absolute"
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            found |= {name if name in modules() else node.module for name in full}
    return found


@cache
def parsed(module: str) -> ast.Module:
    return ast.parse(modules()[module].read_text())


def package_of(module: str) -> str:
    """The package that a module belongs to."""
    folder = module if modules()[module].name == "__init__.py" else module.rpartition(".")[0]
    return module if folder == "headsplat" else folder


@cache
def package_graph() -> Graph:
    """Package -> the other packages that it imports."""
    edges: Graph = defaultdict(set)
    for module in modules():
        here = package_of(module)
        edges[here] |= {package_of(name) for name in names(parsed(module)) & modules().keys()} - {
            here
        }
    return dict(edges)


def cycles(edges: Graph) -> list[list[str]]:
    """Groups of packages that import each other, directly or indirectly."""

    def reached(start: str) -> set[str]:
        seen, todo = set(), [start]
        while todo:
            fresh = edges.get(todo.pop(), set()) - seen
            seen |= fresh
            todo += fresh
        return seen

    below = {name: reached(name) for name in edges}
    groups = {
        tuple(sorted(other for other in below[name] if name in below.get(other, ())))
        for name in edges
        if name in below[name]
    }
    return [list(group) for group in sorted(groups)]


def depth(edges: Graph) -> int:
    """Length of the longest path of an acyclic graph, in packages."""

    @cache
    def height(name: str) -> int:
        return 1 + max((height(other) for other in edges.get(name, ())), default=0)

    return max(map(height, edges))


def smk_imports() -> set[str]:
    """Imports of the Snakefile and the rules."""
    found = set()
    for path in (ROOT / "Snakefile", *sorted((ROOT / "rules").rglob("*.smk"))):
        lines = re.findall(r"^(?:from|import) (?:[^(\n]*\([^)]*\)|[^\n]*)", path.read_text(), re.M)
        found |= names(ast.parse("\n".join(lines)))
    return found


def imported_by_planning() -> dict[str, str]:
    """Modules that planning imports, by their first importer; third-party ones too."""
    todo, seen = [(name, "the rules") for name in sorted(smk_imports())], {}
    while todo:
        name, importer = todo.pop()
        if name in seen:
            continue
        seen[name] = importer
        if name in modules():
            todo += [(other, name) for other in names(parsed(name), within_functions=False)]
    return seen


def summary() -> str:
    edges = package_graph()
    count = sum(map(len, edges.values()))
    bad = cycles(edges)
    levels = "with cycles" if bad else f"{depth(edges)} levels"
    rows = [f"{len(edges)} packages, {levels}, {count} edges"]
    for group in bad:
        rows.append("these import each other: " + ", ".join(group))
        for a in group:
            rows += [
                f"  {a} -> {b}: {example_import(a, b)}"
                for b in sorted(package_graph()[a] & set(group))
            ]
    return "\n".join(rows)


def example_import(a: str, b: str) -> str:
    """An import that makes the edge from package `a` to `b`."""
    return next(
        f"{module} imports {name}"
        for module in modules()
        if package_of(module) == a
        for name in sorted(names(parsed(module)) & modules().keys())
        if package_of(name) == b
    )


def test_the_library_does_not_import_the_workflow():
    above = {"snakemake", "headsplat_workflow"}
    wrong = [
        f"{module} imports {name}"
        for module in modules()
        if module.split(".")[0] == "headsplat"
        for name in names(parsed(module))
        if name.split(".")[0] in above
    ]
    assert not wrong


def test_the_runtime_imports_nothing_above_it():
    wrong = [
        f"{module} imports {name}"
        for module in modules()
        if f"{module}.".startswith("headsplat.runtime.")
        for name in names(parsed(module))
        if name.split(".")[0] == "headsplat" and not f"{name}.".startswith("headsplat.runtime.")
    ]
    assert not wrong


def test_planning_imports_no_torch():
    seen = imported_by_planning()
    assert "headsplat_workflow.config" in seen  # the rules are read
    wrong = [f"{by} imports {name}" for name, by in seen.items() if name.split(".")[0] == "torch"]
    assert not wrong


def test_no_packages_import_each_other():
    assert not cycles(package_graph()), summary()


def test_an_indirect_cycle_is_found():
    edges = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"a"}}
    assert cycles(edges) == [["a", "b", "c"]]
    assert depth({"a": {"b", "d"}, "b": {"d"}, "d": set()}) == 3


if __name__ == "__main__":
    print(summary())
