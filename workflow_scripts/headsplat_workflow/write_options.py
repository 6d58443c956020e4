"""Write what users read about the options: config/schema.yaml and the tables of config/README.md.

    make options

Both are made from `headsplat_workflow.sections`; a test fails when they are stale.
"""

from pathlib import Path
from typing import Any

import yaml

from headsplat_workflow.sections import CHUNKS, GENERAL, SECTIONS, schema

FOLDER = Path(__file__).resolve().parents[2] / "config"
_HEADER = "# Every option's type, range, default and meaning. Written by `make options`.\n"
_BEGIN, _END = "<!-- written by make options -->\n", "<!-- end -->\n"


def schema_text() -> str:
    """Content of config/schema.yaml."""
    return _HEADER + yaml.safe_dump(schema(), sort_keys=False, width=90, allow_unicode=True)


def readme_text(readme: str) -> str:
    """config/README.md with its tables of options renewed.

    Args:
        readme: its present content; what stands outside the two marks is kept.
    """
    before, _, rest = readme.partition(_BEGIN)
    return before + _BEGIN + _tables() + _END + rest.partition(_END)[2]


def _tables() -> str:
    general = GENERAL | {"chunks": CHUNKS}
    parts = [_table("General", "", general)]
    for name, section in SECTIONS.items():
        parts.append(_table(f"`{name}`", f"{section.about}.", section.properties()))
    return "\n".join(parts)


def _table(title: str, about: str, properties: dict[str, dict[str, Any]]) -> str:
    lines = [f"\n### {title}\n", *([f"{about}\n"] if about else [])]
    lines += ["| option | values | default | meaning |", "|---|---|---|---|"]
    for name, option in properties.items():
        cells = (f"`{name}`", _values(option), f"`{_shown(option['default'])}`")
        text = option["description"].replace("|", "\\|").replace("*", "\\*")
        lines.append(f"| {' | '.join(cells)} | {text} |")
    return "\n".join(lines) + "\n"


def _values(option: dict[str, Any]) -> str:
    if "enum" in option:
        return ", ".join(f"`{value}`" for value in option["enum"])
    kinds = [option["type"]] if isinstance(option["type"], str) else option["type"]
    words = " or ".join({"null": "`~`", "string": "text"}.get(kind, kind) for kind in kinds)
    if "pattern" in option:
        words = words.replace("text", f"`{option['pattern'].strip('^$')}`")
    if "minimum" in option:
        words += f", {option['minimum']} to {option['maximum']}"
    if "exclusiveMinimum" in option:
        words += f", above {option['exclusiveMinimum']}"
    return words + (", even" if option.get("multipleOf") == 2 else "")


def _shown(value: Any) -> str:
    if value is None:
        return "~"
    return str(value).lower() if isinstance(value, bool) else value


def main() -> None:
    """Rewrite both files."""
    (FOLDER / "schema.yaml").write_text(schema_text())
    readme = FOLDER / "README.md"
    readme.write_text(readme_text(readme.read_text()))


if __name__ == "__main__":
    main()
