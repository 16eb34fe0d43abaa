"""The digits table as JSON and as a page."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from avse.errors import ConfigError
from avse.training.digits.config import METHODS, DigitsConfig, Method
from avse.training.digits.experiment import (
    ALWAYS_WHOLE,
    TESTS,
    WITHOUT,
    Cell,
    CellResult,
    Estimate,
    estimate,
    gather,
)

NAMES: dict[Method, str] = {
    "image": "image only",
    "full": "image + all of the sound",
    "sound": "sound only",
    "separate": "image and sound apart, multiplied",
    "zeros": "joint, zeros for missing sound",
    "autoencoder": "autoencoder",
    "msaf": "MSAF, zeros for missing sound",
    "smil": "SMIL",
}
HEADINGS = {
    WITHOUT: "tested without sound",
    "original": "with sound, known speakers",
    "disjoint": "with sound, unknown speakers",
}


def rows_of(results: Sequence[CellResult]) -> list[tuple[Method, float]]:
    """Rows that have results: first those that need no share, then share by share."""
    there = {(r.cell.method, r.cell.share) for r in results}
    whole = [(method, 1.0) for method in ALWAYS_WHOLE]
    shares = sorted({share for method, share in there if method not in ALWAYS_WHOLE})
    rest = [(m, share) for share in shares for m in METHODS if m not in ALWAYS_WHOLE]
    return [row for row in whole + rest if row in there]


def accuracy_of(results: Sequence[CellResult], method: Method, share: float, test: str) -> Estimate:
    """Mean accuracy of a row over its seeds, percent."""
    return estimate(list(_by_seed(results, method, share, test).values()))


def gain(
    results: Sequence[CellResult], first: tuple[Method, float], second: tuple[Method, float],
    test: str,
) -> Estimate:  # fmt: skip
    """How much better the first row is than the second, seed by seed, in points."""
    ours, theirs = _by_seed(results, *first, test), _by_seed(results, *second, test)
    return estimate([ours[seed] - theirs[seed] for seed in sorted(set(ours) & set(theirs))])


def table_markdown(results: Sequence[CellResult]) -> str:
    """Accuracies, then what SMIL gains on each other method."""
    header = ["sound in training", "method", *HEADINGS.values(), "seeds"]
    lines = [_line(header), _line(["---"] * len(header))]
    for method, share in rows_of(results):
        cells = [_plain(accuracy_of(results, method, share, test)) for test in TESTS]
        if method == "sound":
            cells[0] = "-"
        shown = "0 %" if method == "image" else f"{100 * share:g} %"
        n_seeds = accuracy_of(results, method, share, TESTS[1]).n
        lines.append(_line([shown, NAMES[method], *cells, str(n_seeds)]))
    return "\n".join(lines) + "\n"


def gains_markdown(results: Sequence[CellResult]) -> str:
    """Points that SMIL gains on each other method at the same share; in bold where it is clear."""
    header = ["sound in training", "SMIL against", *HEADINGS.values()]
    lines = [_line(header), _line(["---"] * len(header))]
    shares = sorted({r.cell.share for r in results if r.cell.method == "smil"})
    for share in shares:
        for method, other in rows_of(results):
            if method != "smil" and other in (share, 1.0):
                row = (method, other)
                cells = [_signed(gain(results, ("smil", share), row, test)) for test in TESTS]
                if method == "sound":
                    cells[0] = "-"
                lines.append(_line([f"{100 * share:g} %", NAMES[method], *cells]))
    return "\n".join(lines) + "\n"


def write_table(
    folder: Path, results: Sequence[CellResult], config: DigitsConfig, document: Path | None = None
) -> list[Path]:
    """Write `digits.json` and `digits.md`, and put the latter into its place in a document.

    Returns:
        All paths.

    Raises:
        ConfigError: The document has no such place.
    """
    summary = [
        {"method": method, "share": share}
        | {test: asdict(accuracy_of(results, method, share, test)) for test in TESTS}
        for method, share in rows_of(results)
    ]
    content = {"table": summary, "trainings": [asdict(r) for r in results]}
    numbers, page = folder / "digits.json", folder / "digits.md"
    numbers.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    text = report_markdown(results, config)
    page.write_text(text, encoding="utf-8")
    if document is None:
        return [numbers, page]
    put_between(document, "digits", text)
    return [numbers, page, document]


def put_between(document: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- table: NAME -->` and `<!-- end -->`.

    Raises:
        ConfigError: The document has no such place.
    """
    start, end = f"<!-- table: {name} -->\n", "<!-- end -->"
    before, found, rest = document.read_text(encoding="utf-8").partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise ConfigError(f"{document}: expected {start.strip()} and {end}, found none")
    document.write_text(before + start + text + end + after, encoding="utf-8")


def report_markdown(results: Sequence[CellResult], config: DigitsConfig) -> str:
    """What was done, the accuracies, what SMIL gains."""
    protocol = config.protocol
    n_seeds = len({r.cell.seed for r in results})
    commits = ", ".join(sorted({r.commit for r in results}))
    minutes = sum(r.seconds for r in results) / 60
    first, end = protocol.train_indices
    test_first, test_end = protocol.test_indices
    return f"""{len(results)} trainings, up to {n_seeds} seeds, {minutes:.0f} minutes.
Commit {commits}.
Trained on {protocol.n_images_per_class} pairs of each digit, takes {first} to {end - 1} of
{", ".join(protocol.speakers)}; tested on {protocol.n_test_images} images of each, with takes
{test_first} to {test_end - 1} of the same people (known) or of the others (unknown).
Percent right; in brackets the 95 % interval over the seeds (Student's t), each of which draws
images, pairs, kept sounds and weights anew.

{table_markdown(results)}
What SMIL gains on each other method, in points, seed by seed; bold where the interval leaves out
zero:

{gains_markdown(results)}"""


def _by_seed(
    results: Sequence[CellResult], method: Method, share: float, test: str
) -> dict[int, float]:
    def is_wanted(cell: Cell) -> bool:
        return cell.method == method and cell.share == share

    return gather(results, is_wanted, test)


def _plain(value: Estimate) -> str:
    if value.n == 1:
        return f"{value.mean:.1f}"
    return f"{value.mean:.1f} ({value.low:.1f} to {value.high:.1f})"


def _signed(value: Estimate) -> str:
    if value.n == 1:
        return f"{value.mean:+.1f}"
    text = f"{value.mean:+.1f} ({value.low:+.1f} to {value.high:+.1f})"
    return f"**{text}**" if value.is_clear else text


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
