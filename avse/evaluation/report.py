"""The tables as Markdown and rich, and one self-contained HTML page."""

import math
from typing import Any

from rich.table import Table

from avse.evaluation.pages import N_TEXT, TableParts, html_page, markdown_page
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
    return markdown_page("Evaluation", _tables(summary), facts)


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
    return html_page("Evaluation", _tables(summary), pictures, facts)


def _tables(summary: Summary) -> dict[str, TableParts]:
    return {
        "Systems": main_table(summary),
        "Further measures": further_table(summary),
        "Paired differences": tests_table(summary),
        "Groups": groups_table(summary),
        "Pairs without a score": reasons_table(summary),
    }


def _number(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def _interval(mean: Mean, digits: int) -> str:
    if mean.n == 0:
        return ""
    low, high = (f"{end:+.{digits}f}" for end in (mean.low, mean.high))
    return f"{mean.mean:+.{digits}f} [{low}, {high}]"
