"""The web page as one HTML file: markup, style, script and an avatar, without any request."""

import base64
import html
import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from headsplat.web.modules import joined

# Scripts and styles of the file itself, blobs of the webcam's network, streams of this machine.
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'wasm-unsafe-eval' blob:; "
    "connect-src blob: data: ws://127.0.0.1:*; img-src data: blob:; "
    "media-src data: blob: mediastream:; worker-src blob:; style-src 'unsafe-inline'; "
    "base-uri 'none'; form-action 'none'"
)
PAYLOAD_ID = "payload"
_CHARSET = '<meta charset="utf-8">'
_STYLE = '<link rel="stylesheet" href="style.css">'
_CONFIG = '<script type="application/json" id="config">{}</script>'
_SCRIPT = re.compile(r'<script type="module">\n(.*?)</script>', re.DOTALL)
_TITLE = re.compile(r"<title>.*?</title>")


def page_text(name: str) -> str:
    """The text of one of the page's files."""
    return files("headsplat.web").joinpath("page", name).read_text(encoding="utf-8")


def html_file(
    title: str, payload: bytes, config: Mapping[str, Any], data: Mapping[str, bytes] | None = None
) -> str:
    """The whole file.

    Args:
        title: of the page.
        payload: the avatar, as `headsplat.web.container.write_payload` packs it.
        config: what `start` of app.js takes, beside the avatar.
        data: further files that the page reads by the id of their element.
    """
    text = page_text("index.html")
    held = {PAYLOAD_ID: payload, **(data or {})}
    elements = [
        f'<script type="application/octet-stream;base64" id="{html.escape(key)}">'
        f"{base64.b64encode(value).decode()}</script>"
        for key, value in held.items()
    ]
    entry = _SCRIPT.search(text)
    if entry is None:
        raise ValueError("index.html: has no module script")
    script = joined(entry[1], lambda module: page_text(f"{module}.js"))
    parts = {
        _CHARSET: f'{_CHARSET}\n<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        _STYLE: f"<style>\n{page_text('style.css')}</style>",
        _CONFIG: f'<script type="application/json" id="config">'
        f"{_embedded({**config, 'payload': PAYLOAD_ID})}</script>",
        entry[0]: "\n".join([*elements, f'<script type="module">\n{script}\n</script>']),
    }
    for old, new in parts.items():
        if text.count(old) != 1:
            raise ValueError(f"index.html: expected '{old[:60]}' once")
        text = text.replace(old, new)
    return _TITLE.sub(lambda _: f"<title>{html.escape(title)}</title>", text, count=1)


def _embedded(value: Any) -> str:
    """JSON that cannot end the script element that holds it."""
    return json.dumps(value, allow_nan=False).replace("<", "\\u003c")
