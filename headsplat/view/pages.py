"""The files of the page: those of the avatar's page, and those of the viewer's own panes."""

import json
from importlib.resources import files
from typing import Any

from headsplat.web.page_file import page_text

_TYPES = {".js": "text/javascript", ".css": "text/css"}
_STYLE = '<link rel="stylesheet" href="style.css">'
_CONFIG = '<script type="application/json" id="config">{}</script>'
_SCRIPT_START, _SCRIPT_END = '<script type="module">', "</script>"
PAGE = "text/html"


def page_files(config: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Name in the address -> (text, media type); the page itself is "".

    Args:
        config: what `start` of view.js takes.
    """
    found = {"": (_page(config), PAGE)}
    for package in ("headsplat.web", "headsplat.view"):
        for entry in files(package).joinpath("page").iterdir():
            kind = _TYPES.get(entry.name[entry.name.rfind(".") :])
            if kind is None:
                continue
            if entry.name in found:
                raise ValueError(f"{entry.name}: is in both page folders")
            found[entry.name] = entry.read_text(encoding="utf-8"), kind
    return found


def _page(config: dict[str, Any]) -> str:
    """The avatar's page with the viewer's style and script, and nothing inline that runs."""
    text = page_text("index.html")
    start = text.index(_SCRIPT_START)
    end = text.index(_SCRIPT_END, start) + len(_SCRIPT_END)
    held = json.dumps(config, allow_nan=False).replace("<", "\\u003c")
    parts = {
        text[start:end]: '<script type="module" src="view.js"></script>',
        _STYLE: f'{_STYLE}\n<link rel="stylesheet" href="view.css">',
        _CONFIG: _CONFIG.replace("{}", held),
    }
    for old, new in parts.items():
        if text.count(old) != 1:
            raise ValueError(f"index.html: expected '{old[:60]}' once")
        text = text.replace(old, new)
    return text
