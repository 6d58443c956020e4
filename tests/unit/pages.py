"""The project's pages as tests read them: prose without code, sentences, links, headings."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
IMAGE = re.compile(r"!\[[^\]]+\]\(([^)\s]+)\)")
CODE = re.compile(r"``.+?``|`[^`\n]+`")
CODE_WORD = "CODE"  # stands for it in prose
HEADING = re.compile(r"^#{1,6} +(.*)$", re.M)
END_OF_SENTENCE = re.compile(r"(?<=[.!?:;])[)*]*\s+|\n\s*\n|\s\|\s|\n\s*(?:[-|]|\d+\.)\s")


def pages() -> list[Path]:
    """Every page in Markdown."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("config/*.md")])


def without_code(text: str) -> str:
    """A page without code blocks and comments."""
    blocks = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    indented = re.sub(r"^    .*$", "", blocks, flags=re.M)
    return re.sub(r"<!--.*?-->", "", indented, flags=re.S)


def prose(text: str) -> str:
    """What a page says in words: no code, no addresses of links."""
    words = CODE.sub(CODE_WORD, without_code(text))
    return re.sub(r"!?\[([^\]]*)\]\([^)\s]+\)", r"\1", words)


def sentences(text: str) -> list[str]:
    """The sentences of a page; a cell of a table and an item of a list end one."""
    parts = END_OF_SENTENCE.split(prose(text))
    return [part for part in parts if part and part.strip(" |-\n")]


def slugs(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    found: list[str] = []
    for heading in HEADING.findall(without_code(text)):
        plain = heading.replace("&lt;", "<").replace("&gt;", ">").strip().lower()
        found.append(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return set(found)


def links(text: str) -> list[str]:
    """Targets of the links and images of a page."""
    return LINK.findall(CODE.sub("", without_code(text)))
