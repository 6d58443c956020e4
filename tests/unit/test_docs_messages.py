"""The messages that docs/when-something-breaks.md quotes are those that the code prints."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.unit.pages import ROOT

PAGE = ROOT / "docs/when-something-breaks.md"
# Printed by Python, Snakemake, the shell or jsonschema; the last is nearly all numbers.
FOREIGN = (
    "died with <", "OSError", "--- Logging error", "ProtectedOutput", "Missing files after",
    "Output work/", "is not of type", ".snakemake/locks", "--unlock", "nolock",
    "it has 3 of 4 members",
)  # fmt: skip
SHORTEST = 8  # characters of a piece of a message that is looked for


def pieces(tree: ast.AST) -> Iterator[str]:
    """What the texts of a module say between their placeholders."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from re.split(r"%[.\d]*[a-z]", node.value)


@cache
def printed() -> tuple[str, ...]:
    """Pieces of two words or more of all texts of the library and the workflow."""
    folders = ("headsplat", "workflow_scripts", "cuda_ext")
    files: list[Path] = [path for folder in folders for path in ROOT.glob(f"{folder}/**/*.py")]
    found = {piece.strip() for path in files for piece in pieces(ast.parse(path.read_text()))}
    for path in ROOT.glob("workflow_scripts/**/*.sh"):
        for text in re.findall(r'echo "([^"]+)"', path.read_text()):
            found |= {piece.strip() for piece in re.split(r"\$\w+|\$\(\w+\)|\$\{[^}]*\}", text)}
    return tuple(p for p in found if len(p) >= SHORTEST and " " in p and "\n" not in p)


def quoted() -> list[str]:
    """Messages of the page: quoted in the first column of a table, or as an `error:`."""
    spans: list[str] = []
    for line in PAGE.read_text().splitlines():
        first = line[2:].split(" | ")[0] if line.startswith("| ") else ""
        spans += re.findall(r"`([^`]+)`", first)
    spans += re.findall(r"`(error: [^`]+)`", PAGE.read_text().replace("\n", " "))
    messages = [span for span in spans if len(span.split()) > 2]
    messages = [m for m in messages if not m.endswith("line 2: ...")]  # any message about a row
    return sorted({m for m in messages if not any(mark in m for mark in FOREIGN)})


def is_printed(message: str) -> bool:
    """Whether the message holds a piece of a text, or a part of it stands in one."""
    parts = [part.strip() for part in re.split(r"\.\.\.|[;:(),]", message)]
    parts = [part for part in parts if len(part) >= SHORTEST and " " in part]
    texts = printed()
    return any(text in message or any(part in text for part in parts) for text in texts)


@pytest.mark.parametrize("message", quoted())
def test_the_code_prints_it(message):
    assert is_printed(message)


def test_a_message_that_nobody_prints_is_noticed():
    assert not is_printed("error: v.mp4: the moon is full; wait until it wanes, ...")
