"""Tables, pictures and facts as one Markdown text or one HTML file."""

import base64
import html
import re
from collections.abc import Mapping, Sequence
from typing import Any

TableParts = tuple[list[str], list[list[str]]]
"""A header and its lines of cells."""

CAPTIONS = {
    "before-after": "Before and after",
    "gain-over-snr": "Gain over the mixture's SNR",
    "robustness": "Disturbed sight",
    "example": "Example",
    "training": "Training",
}
"""What a picture shows, by how its file name begins."""

N_TEXT = 4
"""Columns at the left that hold words."""

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1320px;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;margin:1em 0;font-size:13px}td,th{border-bottom:1px solid #ddd;
padding:3px 9px;text-align:right;white-space:nowrap}td.t,th.t{text-align:left}th{background:#f2f4f7}
div.w{overflow-x:auto}
img{max-width:100%}dt{font-weight:600}dd{margin:0 0 .3em 1.5em;overflow-wrap:anywhere}"""


def markdown_page(title: str, tables: Mapping[str, TableParts], facts: Mapping[str, Any]) -> str:
    """The facts as a list, then every table that has lines."""
    parts = [f"# {title}", *(f"- {key}: {_text(value)}" for key, value in facts.items())]
    for name, (header, cells) in tables.items():
        if cells:
            parts += ["", f"## {name}", "", markdown_table(header, cells)]
    return "\n".join(parts) + "\n"


def markdown_table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """One table."""
    lines = [header, ["---"] * len(header), *cells]
    return "\n".join("| " + " | ".join(c.replace("|", "/") for c in line) + " |" for line in lines)


def html_page(
    title: str,
    tables: Mapping[str, TableParts],
    pictures: Mapping[str, bytes],
    facts: Mapping[str, Any],
) -> str:
    """One file with everything in it, nothing loaded: first table, pictures, the rest, facts."""
    known = "".join(f"<dt>{_safe(k)}</dt><dd>{_safe(_text(v))}</dd>" for k, v in facts.items())
    images = "".join(_image(name, content) for name, content in pictures.items())
    first = next(iter(tables))
    sections = [_section(name, *tables[name]) for name in tables if name != first]
    body = [_section(first, *tables[first]), images, *sections, f"<h2>How</h2><dl>{known}</dl>"]
    head = f'<meta charset="utf-8"><title>{_safe(title)}</title><style>{STYLE}</style>'
    return f"<!doctype html>{head}<h1>{_safe(title)}</h1>{''.join(body)}\n"


def _section(title: str, header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    if not cells:
        return ""
    head = "".join(_tagged("th", index, name) for index, name in enumerate(header))
    rows = ["".join(_tagged("td", i, text) for i, text in enumerate(row)) for row in cells]
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<h2>{_safe(title)}</h2><div class='w'><table><tr>{head}</tr>{body}</table></div>"


def _tagged(tag: str, index: int, text: str) -> str:
    kind = ' class="t"' if index < N_TEXT else ""
    return f"<{tag}{kind}>{_safe(text)}</{tag}>"


def _image(name: str, content: bytes) -> str:
    encoded = base64.b64encode(content).decode()
    title = _safe(caption(name))
    return f'<h3>{title}</h3><img alt="{title}" src="data:image/png;base64,{encoded}">'


def caption(name: str) -> str:
    """`before-after-test-two_0db.png` as people read it: `Before and after: test, two_0db`."""
    stem = name.removesuffix(".png")
    for start, words in CAPTIONS.items():
        if stem == start:
            return words
        if stem.startswith(f"{start}-"):
            parts = re.split("-(?=[a-z])", stem.removeprefix(f"{start}-"))
            return f"{words}: {', '.join(parts)}"
    return stem


def _safe(text: str) -> str:
    return html.escape(text)


def _text(value: Any) -> str:
    return ", ".join(str(v) for v in value) if isinstance(value, (list, tuple)) else str(value)
