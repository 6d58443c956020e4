"""Every rule's shell command quotes its values: the words are the same whatever they contain."""

import ast
import os
import re
import string
import subprocess
from pathlib import Path

import pytest
from snakemake.iocontainers import Namedlist
from snakemake.utils import format as render

from .test_dag import RULES

HOSTILE = "-a $(touch PWNED) `touch PWNED` 'b\" & ; | > * ? ~ \\ {c} # \t\n \u2028 (1).mp4"
OTHER = "; touch PWNED"
# Inputs with several files, all named by the workflow, which follow their flag as separate words.
SEVERAL = ("--frames", "--alpha", "--parsing", "--landmarks", "--sdm", "--clip")


def command_of(body: str) -> str:
    """The text of a rule's shell command."""
    lines = re.search(r"^    shell:\n((?:        [\"'].*[\"']\n?)+)", body, re.M)[1].split("\n")
    return "".join(ast.literal_eval(line.strip()) for line in lines if line.strip())


def fields(text: str) -> list[tuple[str, str]]:
    """Name and format specifier of each field."""
    return [(name, spec) for _, name, spec, _ in string.Formatter().parse(text) if name]


def meant(command: str) -> tuple[list[str], set[str], set[str]]:
    """The words of a command, and which of its fields are one value or several."""
    words, one, several = [], set(), set()
    before = ""
    for word in command.split():
        found = re.fullmatch(r"(--[\w-]+=)?\{([\w.]+):q\}", word)
        if not found:
            assert "{" not in word, f"{word} is not of the form --flag={{field:q}}"
            words.append(word.replace('"$HEADSPLAT_SCRIPTS"', HOSTILE))
        elif found[1] or before in (">", "2>"):
            one.add(found[2])
            words.append((found[1] or "") + HOSTILE)
        else:
            assert found[2].startswith("params.") or before in SEVERAL, f"{word} could be a flag"
            several.add(found[2])
            words += [HOSTILE, OTHER]
        before = word
    return words, one, several


def values(one: set[str], several: set[str]) -> dict[str, Namedlist]:
    """Example values of a command's fields."""
    filled: dict[str, Namedlist] = {}
    for name in one | several:
        group, _, key = name.partition(".")
        value = [HOSTILE, OTHER] if name in several else HOSTILE
        box = filled.setdefault(group, Namedlist())
        if key:
            box.append(value)
            box._set_name(key, len(box) - 1)
        else:
            box.append(value)
    return filled


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_command_quotes_its_values(name: str, tmp_path: Path) -> None:
    command = command_of(RULES[name])
    assert all(spec == "q" for _, spec in fields(command)), "every field is quoted"
    words, one, several = meant(command)
    assert words[:2] == ["exec", "python"]
    run, arrow, log = re.fullmatch(r"exec python (.*) (2?>) (.*)", command).groups()
    run, log = (render(text, **values(one, several)) for text in (run, log))

    # Let the shell itself split the text into words.
    result = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {run}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "HEADSPLAT_SCRIPTS": HOSTILE},
    )
    assert result.stdout.split("\0")[:-1] == words[2 : words.index(arrow)]
    # The log is one file with that name.
    subprocess.run(["bash", "-c", f"true {arrow} {log}"], cwd=tmp_path, check=True)
    assert [path.name for path in tmp_path.iterdir()] == [HOSTILE]


@pytest.mark.parametrize(
    "command",
    [
        "exec python a.py --video={input.video} > {log:q}",
        "exec python a.py --video={input.video:q} > {log}",
        "exec python a.py --video {input.video:q} > {log:q}",
        "exec python a.py '--video={input.video:q}' > {log:q}",
        "exec python a.py {input.video:q} > {log:q}",
    ],
)
def test_unquoted_command_is_detected(command: str) -> None:
    with pytest.raises(AssertionError):
        meant(command)
