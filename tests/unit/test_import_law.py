"""The law of imports between packages; run as a script, this file prints the plan of the house.

A package is a folder; each module at the top of `headsplat` counts as a package of its own. An
arrow leads from a package to one that it imports, within functions too.
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


def room(module: str) -> str:
    """The package that a module belongs to."""
    folder = module if modules()[module].name == "__init__.py" else module.rpartition(".")[0]
    return module if folder == "headsplat" else folder


@cache
def plan() -> Graph:
    """Package -> the other packages that it imports."""
    arrows: Graph = defaultdict(set)
    for module in modules():
        here = room(module)
        arrows[here] |= {room(name) for name in names(parsed(module)) & modules().keys()} - {here}
    return dict(arrows)


def cycles(arrows: Graph) -> list[list[str]]:
    """Groups of packages that import each other, directly or by way of others."""

    def reached(start: str) -> set[str]:
        seen, todo = set(), [start]
        while todo:
            fresh = arrows.get(todo.pop(), set()) - seen
            seen |= fresh
            todo += fresh
        return seen

    below = {name: reached(name) for name in arrows}
    groups = {
        tuple(sorted(other for other in below[name] if name in below.get(other, ())))
        for name in arrows
        if name in below[name]
    }
    return [list(group) for group in sorted(groups)]


def floors(arrows: Graph) -> int:
    """Packages on the longest way down, in a plan without cycles."""

    @cache
    def height(name: str) -> int:
        return 1 + max((height(other) for other in arrows.get(name, ())), default=0)

    return max(map(height, arrows))


def smk_imports() -> set[str]:
    """What Snakemake imports while it reads the rules."""
    found = set()
    for path in (ROOT / "Snakefile", *sorted((ROOT / "rules").rglob("*.smk"))):
        lines = re.findall(r"^(?:from|import) (?:[^(\n]*\([^)]*\)|[^\n]*)", path.read_text(), re.M)
        found |= names(ast.parse("\n".join(lines)))
    return found


def imported_by_planning() -> dict[str, str]:
    """Modules that planning imports, by who imports them first; third-party ones too."""
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
    arrows = plan()
    count = sum(map(len, arrows.values()))
    bad = cycles(arrows)
    tall = "no floors, there are cycles" if bad else f"{floors(arrows)} floors"
    rows = [f"{len(arrows)} rooms, {tall}, {count} arrows"]
    for group in bad:
        rows.append("these import each other: " + ", ".join(group))
        for a in group:
            rows += [f"  {a} -> {b}: {witness(a, b)}" for b in sorted(plan()[a] & set(group))]
    return "\n".join(rows)


def witness(a: str, b: str) -> str:
    """An import that makes the arrow from package `a` to `b`."""
    return next(
        f"{module} imports {name}"
        for module in modules()
        if room(module) == a
        for name in sorted(names(parsed(module)) & modules().keys())
        if room(name) == b
    )


def test_the_library_knows_nothing_of_the_workflow():
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
    assert not cycles(plan()), summary()


def test_a_cycle_by_way_of_others_is_found():
    arrows = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set(), "e": {"a"}}
    assert cycles(arrows) == [["a", "b", "c"]]
    assert floors({"a": {"b", "d"}, "b": {"d"}, "d": set()}) == 3


if __name__ == "__main__":
    print(summary())
