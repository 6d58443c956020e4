"""Options as dataclass fields that carry their range and help text.

    @dataclass(frozen=True)
    class Options:
        bases: int = option(20, "learned bases", low=1, high=200)

The dataclass is the only place that names an option: defaults, argparse and the workflow's schema
are derived from it.
"""

import ast
import dataclasses
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from headsplat.runtime.errors import UserError

CLASS = "Options"


def option(default: Any, help: str, low: float | None = None, high: float | None = None) -> Any:
    """A dataclass field with the range and help text of an option.

    Args:
        default: its value unless set; its type is the option's.
        help: one line.
        low: lowest value allowed, None for any.
        high: highest value allowed, None for any.
    """
    return dataclasses.field(default=default, metadata={"help": help, "low": low, "high": high})


def check_ranges(options: Any) -> None:
    """Raise `UserError` for the first value that is out of its option's range.

    Args:
        options: instance of a dataclass; fields that `option` did not make are skipped.
    """
    for field in dataclasses.fields(options):
        low, high = field.metadata.get("low"), field.metadata.get("high")
        value = getattr(options, field.name)
        too_low = low is not None and not value >= low
        if too_low or (high is not None and not value <= high):
            flag = field.name.replace("_", "-")
            raise UserError(f"--{flag} {value}: must be between {low} and {high}")


def schema_of(options: type) -> dict[str, dict[str, Any]]:
    """Option name -> its JSON schema, for every field of a dataclass that `option` made."""
    names = {bool: "boolean", int: "integer", float: "number", str: "string"}
    properties = {}
    for field in dataclasses.fields(options):
        if "help" not in field.metadata:
            continue
        limits = {"minimum": field.metadata["low"], "maximum": field.metadata["high"]}
        properties[field.name] = {
            "type": names[type(field.default)],
            "description": field.metadata["help"],
            **{key: value for key, value in limits.items() if value is not None},
        }
    return properties


@cache
def read_options(module: str) -> type:
    """The dataclass `Options` of a module that is not imported, so that planning needs no torch.

    Only this class is executed: it may use `dataclass`, `option` and constants written out.

    Args:
        module: dotted name.

    Returns:
        the dataclass; one without fields where the module has none.
    """
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no module named '{module}'", name=module)
    tree = ast.parse(Path(spec.origin).read_text(), spec.origin)
    body = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == CLASS]
    names: dict[str, Any] = {"dataclass": dataclasses.dataclass, "option": option}
    names["__name__"] = module
    exec(compile(ast.Module(body, []), spec.origin, "exec"), names)
    return names.get(CLASS) or dataclasses.make_dataclass(CLASS, [], frozen=True)
