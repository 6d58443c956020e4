"""The configuration: a closed schema, and presets.

Everything here raises `UserError` with one line that names the file, the key and the fix.
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from headsplat_workflow.sections import PRESETS, defaults, schema

from headsplat.runtime.errors import LONGEST, UserError, shown

# Values of a configuration at most; YAML references to each other can make billions.
_MOST_VALUES = 10_000
# A number or truth value; YAML's tags and collections are none.
_SCALAR = re.compile(r"[-+.~\w]{1,40}", re.ASCII)
# Letters of a word that is looked up in descriptions.
_LEAST_WORD = 4


def _dotted(path: Any) -> str:
    return ".".join(str(part) for part in path)


def _unknown_key(error: jsonschema.ValidationError) -> str:
    known = error.schema.get("properties", {})
    unknown = next(shown(str(key)) for key in error.instance if key not in known)
    where = _dotted([*error.absolute_path, unknown])
    near = _nearest(unknown, known)
    if near is not None:
        return (
            f"'{where}' is not an option; did you mean '{_dotted([*error.absolute_path, near])}'?"
        )
    return f"'{where}' is not an option; possible are: {', '.join(sorted(known))}"


def _nearest(unknown: str, known: Mapping[str, Any]) -> str | None:
    """The option whose name is closest, else the one whose description has the word."""
    close = difflib.get_close_matches(unknown, known, n=1, cutoff=0.5)
    word = re.compile(rf"\b{re.escape(unknown)}\b", re.IGNORECASE)
    described = [name for name in known if word.search(known[name].get("description", ""))]
    if len(unknown) < _LEAST_WORD:
        described = []
    return next(iter([*close, *described]), None)


def validate(config: dict[str, Any], config_file: str) -> None:
    """Check `config` against the closed schema of `headsplat_workflow.sections`.

    Raises:
        UserError: names the first offending key, what it must be, or the nearest valid one.
    """
    _require_sound_values(config, config_file)
    validator = jsonschema.Draft202012Validator(schema())
    errors = sorted(validator.iter_errors(config), key=lambda e: list(map(str, e.absolute_path)))
    if not errors:
        return
    error = errors[0]
    if error.validator == "additionalProperties":
        raise UserError(f"{config_file}: {_unknown_key(error)}")
    message = shown(error.message, 2 * LONGEST)
    if error.validator == "pattern":
        number = "integer" in error.schema["type"]
        hint = "a whole number or 'auto'" if number else error.schema["description"]
        message = f"{shown(repr(error.instance))} is not possible; give {hint}"
    raise UserError(f"{config_file}: {_dotted(error.absolute_path)}: {message}")


def fill_in(config: dict[str, Any]) -> None:
    """Give `config` the default of every option that it leaves out; presets stay as they are."""
    presets = config.get("presets", PRESETS)
    config.update(merged(defaults(), config) | {"presets": presets})


def read_texts(config: dict[str, Any]) -> None:
    """Turn texts into the numbers, truth values or nothing that their options are, in place.

    Snakemake reads everything inside of braces on the command line as text:
    `--config view='{port: 8700}'`. What is no such value stays, and `validate` refuses it.
    """
    known = schema()
    sections = {name: known["$defs"].get(name, part) for name, part in known["properties"].items()}
    presets = config.get("presets")
    held = [config, *(presets.values() if isinstance(presets, dict) else ())]
    for values in held:
        for name, section in values.items() if isinstance(values, dict) else ():
            options = sections.get(name, {}).get("properties", {})
            for key, value in section.items() if isinstance(section, dict) else ():
                if isinstance(value, str) and key in options:
                    section[key] = _typed(value, options[key])


def _typed(text: str, option: Mapping[str, Any]) -> Any:
    """The value of a text, or the text itself where the option may be one, or has no such value."""
    kinds = option.get("type", "string")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "string" in kinds or not _SCALAR.fullmatch(text):
        return text
    try:
        value = yaml.safe_load(text)
        if isinstance(value, str) and "number" in kinds:
            return float(value)  # YAML takes 1e-3 for a text
    except (yaml.YAMLError, ValueError):
        return text
    return value if value is None or isinstance(value, int | float) else text


def named(files: Iterable[Path | str]) -> str:
    """The files that options come from, for messages.

    Args:
        files: given on the command line, over `config/config.yaml`.
    """
    here = Path.cwd()
    given = [
        path.relative_to(here) if path.is_relative_to(here) else path for path in map(Path, files)
    ]
    return " or ".join(["config/config.yaml", *map(str, given)])


def _require_sound_values(config: dict[str, Any], config_file: str) -> None:
    """Refuse a configuration too large to check in reasonable time, NaN, and infinity."""
    left: list[tuple[str, Any]] = [("", config)]
    for _ in range(_MOST_VALUES):
        if not left:
            return
        key, value = left.pop()
        if isinstance(value, dict):
            left.extend((_dotted([key, name] if key else [name]), value[name]) for name in value)
        elif isinstance(value, list):
            left.extend((key, item) for item in value)
        elif isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{config_file}: {shown(key)}: {value} is not possible; give a number")
    raise UserError(
        f"{config_file}: holds more than {_MOST_VALUES:,} values; keep to the options that "
        "config/schema.yaml lists"
    )


def merged(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `override` laid over it, section by section; neither is changed."""
    out = dict(base)
    for key, value in override.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = merged(out[key], value) if both else value
    return out
