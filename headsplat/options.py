"""Options as dataclass fields that carry their range and help text.

    @dataclass(frozen=True)
    class Options:
        bases: int = option(20, "learned bases", low=1, high=200)

The dataclass is the only place that names an option: defaults, argparse and the workflow's schema
are derived from it.
"""

import argparse
import ast
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar, get_args

from headsplat.runtime.errors import UserError

CLASS = "Options"
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
Chosen = TypeVar("Chosen")


def option(
    default: Any,
    help: str,
    low: float | None = None,
    high: float | None = None,
    *,
    above: float | None = None,
    multiple_of: int | None = None,
    choices: Sequence[str] | Callable[[], Sequence[str]] | None = None,
    pattern: str | None = None,
) -> Any:
    """A dataclass field with the range and help text of an option.

    Args:
        default: its value unless set.
        help: one line.
        low: lowest value allowed, None for any.
        high: highest value allowed, None for any.
        above: value that must be exceeded, None for any.
        multiple_of: what a value must be a multiple of, None for any.
        choices: allowed values, or a function that returns them; None for any.
        pattern: regular expression of the schema for texts, None for any.
    """
    limits = {
        "minimum": low,
        "maximum": high,
        "exclusiveMinimum": above,
        "multipleOf": multiple_of,
        "pattern": pattern,
    }
    limits = {key: value for key, value in limits.items() if value is not None}
    metadata = {"help": help, "limits": limits, "choices": choices}
    return dataclasses.field(default=default, metadata=metadata)


def check_ranges(options: Any) -> None:
    """Raise `UserError` for the first value that is out of its option's range.

    Args:
        options: instance of a dataclass; fields that `option` did not make are skipped.
    """
    for field in dataclasses.fields(options):
        limits, value = field.metadata.get("limits", {}), getattr(options, field.name)
        low, high = limits.get("minimum"), limits.get("maximum")
        too_low = low is not None and not value >= low
        if too_low or (high is not None and not value <= high):
            flag = field.name.replace("_", "-")
            raise UserError(f"--{flag} {value}: must be between {low} and {high}")


def schema_of(options: type) -> dict[str, dict[str, Any]]:
    """Option name -> its JSON schema, for every field of a dataclass that `option` made."""
    properties = {}
    for field in dataclasses.fields(options):
        if "help" not in field.metadata:
            continue
        types = [_TYPES[kind] for kind in get_args(field.type) or (field.type,)]
        choices, default = field.metadata["choices"], field.default
        whole = isinstance(default, float) and default.is_integer()
        properties[field.name] = {
            "type": types[0] if len(types) == 1 else types,
            **({"enum": list(choices() if callable(choices) else choices)} if choices else {}),
            **field.metadata["limits"],
            "default": int(default) if whole else default,
            "description": field.metadata["help"],
        }
    return properties


def add_arguments(parser: Any, properties: Mapping[str, Mapping[str, Any]]) -> None:
    """Add a flag per option; those that are not given stay out of the parsed arguments.

    Args:
        parser: `argparse.ArgumentParser` or group.
        properties: as `schema_of` returns them.
    """
    types = {"integer": int, "number": float, "string": str}
    for name, schema in properties.items():
        kind = schema["type"]
        how: dict[str, Any] = {"action": argparse.BooleanOptionalAction}
        if kind != "boolean":
            how = {"type": types[kind], "choices": schema.get("enum"), "metavar": name.upper()}
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, default=argparse.SUPPRESS, help=_help(schema), **how)


def _help(schema: Mapping[str, Any]) -> str:
    """Description, allowed values that it does not name, and default of an option."""
    text, default = schema["description"], schema["default"]
    choices = [str(choice) for choice in schema.get("enum") or () if choice not in ("", None)]
    if any(choice not in text for choice in choices):
        text += f"; one of {', '.join(choices)}"
    if default not in ("", None):
        text += f" (default: {default})"
    return text.replace("%", "%%")


def given(args: argparse.Namespace, properties: Mapping[str, Any]) -> dict[str, Any]:
    """The options among parsed arguments that were given, by name."""
    return {name: getattr(args, name) for name in properties if hasattr(args, name)}


def parsed(options: type[Chosen], args: argparse.Namespace) -> Chosen:
    """The dataclass with the values of parsed arguments and its defaults for the others."""
    return options(**given(args, schema_of(options)))


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
