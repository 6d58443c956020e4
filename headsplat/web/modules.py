"""ES modules joined into one script, so that a page needs no other file.

Each module becomes a function that returns its exports. Modules import each other by lines such as
`import { a, b as c } from "./other.js";` and export declarations; other forms are refused.
"""

import re
from collections.abc import Callable

_IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([a-z0-9_]+)\.js";$', re.MULTILINE)
_EXPORT = re.compile(r"^export ((?:async )?function\*?|class|const) (\w+)", re.MULTILINE)
_UNKNOWN = re.compile(r"^(?:import\b(?!\()|export\b).*$", re.MULTILINE)
# Comments that begin a line, which readers of a page's source do not need.
_COMMENT = re.compile(r"^[ ]*(?:/\*\*.*?\*/|//[^\n]*)\n", re.MULTILINE | re.DOTALL)
_RENAMED = re.compile(r"^(\w+) as (\w+)$")


def joined(entry: str, read: Callable[[str], str]) -> str:
    """A script that runs the module `entry` after all that it imports.

    Args:
        entry: text of the first module.
        read: function that returns the text of the module of a name, without `.js`.

    Raises:
        ValueError: a module imports itself by way of others or a name that there is not, uses
            another form of import or export, or would end the script element that it is put into.
    """
    texts: dict[str, str] = {}
    _visit("the page's script", entry, read, texts, ())
    return "\n".join(texts.values())


def _visit(
    name: str,
    text: str,
    read: Callable[[str], str],
    texts: dict[str, str],
    above: tuple[str, ...],
) -> None:
    """Add a module to `texts`, after the modules that it imports."""
    for taken, other in _IMPORT.findall(text):
        if other in (*above, name):
            raise ValueError(f"{name}: imports itself by way of {' and '.join((*above, other))}")
        if other not in texts:
            _visit(other, read(other), read, texts, (*above, name))
        exported = {found for _, found in _EXPORT.findall(read(other))}
        lacking = {_RENAMED.sub(r"\1", each) for each in _names(taken)} - exported
        if lacking:
            raise ValueError(f"{name}: {other} does not export {', '.join(sorted(lacking))}")
    body = _EXPORT.sub(r"\1 \2", _IMPORT.sub(_taken, _COMMENT.sub("", text)))
    unknown = _UNKNOWN.search(body)
    if unknown:
        raise ValueError(f"{name}: '{unknown[0]}' is no form that can be joined")
    if "</script" in body.lower() or "<!--" in body:
        raise ValueError(f"{name}: would end the page's script")
    exported = ", ".join(exported for _, exported in _EXPORT.findall(text))
    returned = f"\nreturn {{ {exported} }};" if exported else ""
    variable = f"const {_variable(name)} = " if above else ""
    texts[name] = f"{variable}(() => {{\n{body.strip()}{returned}\n}})();"


def _taken(match: re.Match[str]) -> str:
    """The statement that takes imported names from a module's exports."""
    taken = ", ".join(_RENAMED.sub(r"\1: \2", name) for name in _names(match[1]))
    return f"const {{ {taken} }} = {_variable(match[2])};"


def _names(text: str) -> list[str]:
    """What stands between the braces of an import."""
    return [name.strip() for name in text.split(",") if name.strip()]


def _variable(module: str) -> str:
    return f"module_{module}"
