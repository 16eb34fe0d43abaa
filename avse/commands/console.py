"""Where the command line writes: results to stdout, progress and everything else to stderr."""

import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table


class Bars:
    """Progress bars on stderr, one for each stage; silent where stderr is no terminal.

    An instance is a `preprocessing.types.Progress`: it is called as `(stage, done, total)`.
    """

    def __init__(self) -> None:
        """Prepare; nothing is shown before the first call."""
        console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        """Start drawing."""
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Clear the bars, whatever happened."""
        self._bars.stop()

    def __call__(self, stage: str, done: float, total: float) -> None:
        """Move the bar of a stage; a total of 0 means that nobody knows."""
        if stage not in self._tasks:
            self._tasks[stage] = self._bars.add_task(stage)
        self._bars.update(self._tasks[stage], completed=done, total=total or None)


def say(text: str) -> None:
    """Print a result line to stdout."""
    typer.echo(text)


def show(table: Table) -> None:
    """Print a table to stdout; as wide as it needs to be where stdout is no terminal."""
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=max(console.width, 160))
    console.print(table)


def make_table(title: str, columns: list[str], rows: list[list[str]], n_text: int = 1) -> Table:
    """A table; the first `n_text` columns are text, the others numbers set flush right."""
    table = Table(title=title, title_justify="left")
    for index, name in enumerate(columns):
        table.add_column(name, justify="left" if index < n_text else "right")
    for row in rows:
        table.add_row(*row)
    return table


def check_output(path: Path, suffixes: tuple[str, ...], source: Path | None = None) -> Path:
    """Refuse an output before any work: wrong kind, no such folder, or the input itself.

    Raises:
        typer.BadParameter: It cannot be written as asked.
    """
    if path.suffix.lower() not in suffixes:
        wanted = ", ".join(suffixes)
        raise typer.BadParameter(f"{path}: expected a name that ends in {wanted}")
    if not path.parent.is_dir():
        raise typer.BadParameter(f"{path}: expected a folder at {path.parent}, found none")
    if path.is_dir():
        raise typer.BadParameter(f"{path}: expected a file, found a folder")
    if source is not None and source.exists() and path.exists() and path.samefile(source):
        raise typer.BadParameter(f"{path}: expected another file than the input")
    return path
