"""The tables as Markdown and rich, and one self-contained HTML page."""

import base64
import html
import math
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from avse.evaluation.significance import Mean
from avse.evaluation.summary import Line, Summary

TABLE_METRICS = {"pesq_wb": ("PESQ-WB", 2), "stoi": ("STOI", 3), "si_sdr_db": ("SI-SDR dB", 1)}
FURTHER_METRICS = {
    "pesq_nb": ("PESQ-NB", 2),
    "estoi": ("ESTOI", 3),
    "dnsmos_ovrl": ("DNSMOS overall", 2),
    "dnsmos_sig": ("DNSMOS voice", 2),
    "dnsmos_bak": ("DNSMOS background", 2),
}
COLUMNS = ("split", "condition", "system", "lips", "pairs", "bad")
N_TEXT = 4

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:1320px;margin:2em auto;padding:0 1em}
table{border-collapse:collapse;margin:1em 0;font-size:13px}td,th{border-bottom:1px solid #ddd;
padding:3px 9px;text-align:right;white-space:nowrap}td.t,th.t{text-align:left}th{background:#f2f4f7}
div.w{overflow-x:auto}
img{max-width:100%}dt{font-weight:600}dd{margin:0 0 .3em 1.5em;overflow-wrap:anywhere}"""


def main_table(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the table of systems, conditions and lips."""
    header = list(COLUMNS)
    for name, _ in TABLE_METRICS.values():
        header += [name, f"{name} gain [95 %]"]
    return [*header, "lose > .01 STOI"], [_cells(line) for line in summary.lines]


def _cells(line: Line) -> list[str]:
    cell = line.cell
    cells = [cell.split, cell.condition, cell.system, cell.lips or "-"]
    cells += [str(line.n_pairs), str(line.n_bad + line.n_partial)]
    for metric, (_, digits) in TABLE_METRICS.items():
        cells.append(_number(line.means[metric].mean, digits))
        is_input = cell.system == "mixture"
        cells.append("" if is_input else _interval(line.means[f"{metric}_gain"], digits))
    share = line.share_losing_stoi
    return [*cells, "" if share is None or cell.system == "mixture" else f"{share:.1%}"]


def further_table(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the other measures, those that were judged."""
    lines = summary.lines
    judged = {
        metric: shown
        for metric, shown in FURTHER_METRICS.items()
        if any(metric in line.means and line.means[metric].n for line in lines)
    }
    header = ["split", "condition", "system", "lips", "pairs"]
    for name, _ in judged.values():
        header += [name, f"{name} gain [95 %]"]
    return header, [_further_cells(line, judged) for line in lines] if judged else []


def _further_cells(line: Line, judged: dict[str, tuple[str, int]]) -> list[str]:
    cell = line.cell
    cells = [cell.split, cell.condition, cell.system, cell.lips or "-", str(line.n_pairs)]
    for metric, (_, digits) in judged.items():
        cells.append(_number(line.means[metric].mean, digits))
        is_input = cell.system == "mixture"
        cells.append("" if is_input else _interval(line.means[f"{metric}_gain"], digits))
    return cells


def tests_table(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the paired differences."""
    header = ["split", "condition", "first", "second", "metric", "first - second [95 %]", "p", "n"]
    cells = []
    for test in summary.tests:
        digits = TABLE_METRICS[test.metric][1] + 1
        names = [f"{c.system} {c.lips}".strip() for c in (test.first, test.second)]
        delta = test.difference.delta
        numbers = [_interval(delta, digits), _number(test.difference.p, 4), str(delta.n)]
        cells.append([test.first.split, test.first.condition, *names, test.metric, *numbers])
    return header, cells


def groups_table(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the gains by group."""
    header = ["split", "condition", "system", "lips", "group", "pairs"]
    header += [f"{name} gain [95 %]" for name, _ in TABLE_METRICS.values()]
    cells = []
    for group in summary.groups:
        cell, gains = group.cell, group.gains
        names = [cell.split, cell.condition, cell.system, cell.lips or "-"]
        n_pairs = max(mean.n for mean in gains.values())
        numbers = [
            _interval(gains[f"{metric}_gain"], digits)
            for metric, (_, digits) in TABLE_METRICS.items()
        ]
        cells.append([*names, f"{group.by} {group.value}", str(n_pairs), *numbers])
    return header, cells


def reasons_table(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Header and cells of what could not be judged, and why."""
    cells = []
    for line in summary.lines:
        cell = line.cell
        for reason, count in line.reasons.items():
            names = [cell.split, cell.condition, cell.system, cell.lips or "-"]
            cells.append([*names, str(count), reason])
    return ["split", "condition", "system", "lips", "pairs", "reason"], cells


def markdown(summary: Summary, facts: dict[str, Any]) -> str:
    """All tables as Markdown, with how they came about."""
    parts = ["# Evaluation", *(f"- {key}: {_text(value)}" for key, value in facts.items())]
    for title, (header, cells) in _tables(summary).items():
        if cells:
            parts += ["", f"## {title}", "", _markdown_table(header, cells)]
    return "\n".join(parts) + "\n"


def rich_table(summary: Summary, title: str = "Evaluation") -> Table:
    """The main table for a terminal."""
    header, cells = main_table(summary)
    table = Table(title=title, title_justify="left")
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index < N_TEXT else "right")
    for row in cells:
        table.add_row(*row)
    return table


def page(summary: Summary, facts: dict[str, Any], pictures: dict[str, bytes]) -> str:
    """One HTML file with everything in it: facts, tables and pictures; nothing is loaded."""
    known = "".join(f"<dt>{_safe(k)}</dt><dd>{_safe(_text(v))}</dd>" for k, v in facts.items())
    images = "".join(_image(name, content) for name, content in pictures.items())
    tables = _tables(summary)
    first = next(iter(tables))
    sections = [_section(title, *tables[title]) for title in tables if title != first]
    body = [_section(first, *tables[first]), images, *sections, f"<h2>How</h2><dl>{known}</dl>"]
    head = f'<meta charset="utf-8"><title>Evaluation</title><style>{STYLE}</style>'
    return f"<!doctype html>{head}<h1>Evaluation</h1>{''.join(body)}\n"


def _tables(summary: Summary) -> dict[str, tuple[list[str], list[list[str]]]]:
    return {
        "Systems": main_table(summary),
        "Further measures": further_table(summary),
        "Paired differences": tests_table(summary),
        "Groups": groups_table(summary),
        "Pairs without a score": reasons_table(summary),
    }


def _markdown_table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *cells]
    return "\n".join("| " + " | ".join(c.replace("|", "/") for c in line) + " |" for line in lines)


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
    return f'<h3>{_safe(name)}</h3><img alt="{_safe(name)}" src="data:image/png;base64,{encoded}">'


def _safe(text: str) -> str:
    return html.escape(text)


def _text(value: Any) -> str:
    return ", ".join(str(v) for v in value) if isinstance(value, (list, tuple)) else str(value)


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def _interval(mean: Mean, digits: int) -> str:
    if mean.n == 0:
        return ""
    low, high = (f"{end:+.{digits}f}" for end in (mean.low, mean.high))
    return f"{mean.mean:+.{digits}f} [{low}, {high}]"
