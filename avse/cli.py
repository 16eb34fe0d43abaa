"""`avse`: the commands, and the one place where errors become a line and an exit code.

Exit codes: 0 all good, 1 a fault of the program, 2 usage, 3 a clip or a model failed, 130 Ctrl-C.
"""

import logging
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import avse
from avse.commands.batch import batch
from avse.commands.benchmark import benchmark
from avse.commands.demo import demo
from avse.commands.enhance import enhance
from avse.commands.evaluate import evaluate
from avse.commands.faces import faces
from avse.commands.models import models_app
from avse.commands.recognise import actions, gestures
from avse.commands.remote import remote_app
from avse.commands.results import results
from avse.commands.serve import serve
from avse.commands.tables import tables_app
from avse.commands.train import train_app
from avse.errors import ConfigError
from avse.evaluation.errors import InvalidOptions

EXIT_FAULT = 1
EXIT_USAGE = 2
EXIT_FAILED = 3
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="avse",
    help="Audio-visual speech enhancement: a clip of a talking face in, that voice, clean, out.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (
    enhance,
    batch,
    faces,
    gestures,
    actions,
    demo,
    benchmark,
    evaluate,
    results,
    serve,
):
    app.command()(command)
app.add_typer(remote_app, name="remote")
app.add_typer(models_app, name="models")
app.add_typer(train_app, name="train")
app.add_typer(tables_app, name="tables")


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    is_version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.")
    ] = False,
    is_verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log what is done, to stderr.")
    ] = False,
) -> None:
    if is_version:
        typer.echo(f"avse {avse.__version__}")
        raise typer.Exit
    level = logging.INFO if is_verbose else logging.WARNING
    logging.basicConfig(level=level, format="avse: %(message)s", stream=sys.stderr)
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line.

    Args:
        arguments: Without the program's name.

    Returns:
        The exit code.
    """
    command = typer.main.get_command(app)
    try:
        exit_code = command.main(list(arguments), prog_name="avse", standalone_mode=False) or 0
    except Exception as error:
        return _explain(error)
    if exit_code == EXIT_INTERRUPTED:  # typer catches the Ctrl-C
        return _complain("interrupted", EXIT_INTERRUPTED)
    return int(exit_code)


def main() -> None:
    """Entry point of the `avse` script."""
    sys.exit(run(sys.argv[1:]))


def _explain(error: Exception) -> int:
    """Say in one line what went wrong and give the exit code for it."""
    logging.getLogger(__name__).info("where it happened:", exc_info=error)
    if isinstance(error, typer.TyperException):
        return _complain(f"{error.format_message()} (see avse --help)", error.exit_code)
    if isinstance(error, typer.Abort):
        return _complain("interrupted", EXIT_INTERRUPTED)
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return _complain(f"{place}{error.strerror or error}", EXIT_FAILED)
    if isinstance(error, (ConfigError, InvalidOptions)):
        return _complain(str(error), EXIT_USAGE)
    # Every error class of the product has a stable `code`; anything else is a bug.
    if isinstance(getattr(error, "code", None), str) or isinstance(error, MemoryError):
        return _complain(str(error) or "not enough memory", EXIT_FAILED)
    fault = f"{type(error).__name__}: {error}"
    return _complain(f"a fault of avse: {fault} (avse -v COMMAND says where)", EXIT_FAULT)


def _complain(text: str, exit_code: int) -> int:
    line = " ".join(text.split())
    typer.echo(f"avse: {line}", err=True)
    return exit_code
