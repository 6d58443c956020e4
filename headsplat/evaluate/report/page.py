"""HTML elements and style of the report: one self-contained file."""

import base64
import html
from collections.abc import Sequence

import numpy as np

from headsplat.frames.images import encode_jpeg

_STYLE = """
:root{--bg:#fbfbf9;--fg:#1d2326;--soft:#667077;--panel:#fff;--line:#dfe3e4;--a:#1668a8;--b:#c8601c;
--c:#2d8a5c;--d:#8a4fa3;--e:#b0902a;--good:#2d8a5c;--bad:#b93a32}
@media (prefers-color-scheme:dark){:root{--bg:#14181a;--fg:#e6eaeb;--soft:#98a3a8;--panel:#1c2225;
--line:#30383c;--a:#63b0ea;--b:#ef9a5b;--c:#62c294;--d:#c493dc;--e:#dcc063;--good:#62c294;--bad:#f0807a}}
*{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--fg);
font:16px/1.5 system-ui,sans-serif}main{max-width:1080px;margin:auto;padding:24px 20px 60px}
h1{font-size:1.7rem;margin:.2em 0}h2{font-size:1.1rem;margin:0 0 .6em}p{margin:.3em 0 .8em}
.soft,figcaption{color:var(--soft);font-size:.875rem}
.verdict{border-left:4px solid var(--b);padding:.5em .9em;background:var(--panel);margin:1em 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(112px,1fr));gap:8px;margin:18px 0}
.tile{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:10px 12px}
.tile b{display:block;font-size:1.2rem;white-space:nowrap;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:.8rem}
.grid2{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,440px),1fr));gap:16px}
section{background:var(--panel);border:1px solid var(--line);border-radius:8px;padding:14px 16px;
margin-bottom:16px;min-width:0}.grid2>section{margin:0}.grid2 div section:last-child{margin:0}
.grid2{margin-bottom:16px}
svg{width:100%;height:auto;display:block}svg text{fill:var(--soft);font:12px system-ui,sans-serif}
.grid{stroke:var(--line)}.line{fill:none;stroke-width:1.6;stroke-linejoin:round}
.legend span{margin-right:1em;font-size:.8rem;color:var(--soft)}
.legend i{display:inline-block;width:10px;height:10px;border-radius:2px;margin-right:5px}
.bars{display:grid;grid-template-columns:minmax(90px,32%) 1fr auto;column-gap:10px}
.bar{display:grid;grid-template-columns:subgrid;grid-column:1/-1;align-items:center;
font-size:.85rem;margin:3px 0}.bar span{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.bar b{background:var(--line);border-radius:3px;height:10px;position:relative;overflow:hidden}
.bar i{display:block;height:100%;background:var(--a);border-radius:3px}
.bar .two i{position:absolute;top:0}.bar .two .first{background:var(--a);opacity:.55}
.bar .two .second{background:var(--b);height:40%;top:30%}
.bar em{font-style:normal;text-align:right;color:var(--soft);white-space:nowrap;
font-variant-numeric:tabular-nums}
.examples,.sheet{display:grid;gap:14px}
.sheet{grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr))}
a{color:var(--a)}figure{margin:0}
figure .trio{display:grid;grid-template-columns:1fr 1fr 1fr;gap:2px}
figure img{width:100%;display:block;background:#000}
table{border-collapse:collapse;width:100%;font-size:.85rem;font-variant-numeric:tabular-nums}
.scroll{overflow-x:auto}td,th{text-align:right;padding:3px 8px;border-bottom:1px solid var(--line)}
td:first-child,th:first-child{text-align:left}th{color:var(--soft);font-weight:500}
.good{color:var(--good)}.bad{color:var(--bad)}
"""


def image_tag(image: np.ndarray, alt: str) -> str:
    """An RGB uint8 (H, W, 3) image embedded in the page."""
    data = base64.b64encode(encode_jpeg(image, quality=90)).decode()
    return f'<img alt="{html.escape(alt)}" loading="lazy" src="data:image/jpeg;base64,{data}">'


def tile(label: str, value: str, hint: str) -> str:
    """One headline number; the hint shows on hover."""
    return (
        f'<div class="tile" title="{html.escape(hint)}"><b>{html.escape(value)}</b>'
        f"<span>{html.escape(label)}</span></div>"
    )


def section(title: str, body: str, note: str = "") -> str:
    """A titled panel with an optional explanation under the title."""
    hint = f'<p class="soft">{html.escape(note)}</p>' if note else ""
    return f"<section><h2>{html.escape(title)}</h2>{hint}{body}</section>"


def pair(*sections: str) -> str:
    """Two columns of sections on wide screens."""
    return f'<div class="grid2">{"".join(sections)}</div>'


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with its own horizontal scrolling on narrow screens."""
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def document(title: str, body: str) -> str:
    """The whole page."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>\n"
    )
