"""How a batch looks while it runs: one live line, or a plain line now and then."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

if TYPE_CHECKING:
    from avse.batch.tally import Tally

PLAIN_EVERY_S = 10.0


class BatchDisplay:
    """Shows counts on stderr; an instance is called with a `Tally`."""

    def __init__(self, console: Console | None = None) -> None:
        """Prepare; nothing is shown before the first call."""
        self._console = console or Console(stderr=True)
        self._is_live = self._console.is_terminal
        self._told_s = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.fields[counted]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}"),
            console=self._console,
            transient=True,
            disable=not self._is_live,
        )
        self._task = self._bar.add_task("clips", total=None, counted="starting", text="")

    def __enter__(self) -> Self:
        """Start drawing."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Clear the line, whatever happened."""
        self._bar.stop()

    def __call__(self, tally: "Tally") -> None:
        """Show how far it is."""
        counted, text = f"{tally.n_ended} of {tally.n_total} clips", described(tally)
        if self._is_live:
            done, total = tally.n_ended, tally.n_total
            self._bar.update(self._task, completed=done, total=total, counted=counted, text=text)
        elif time.monotonic() - self._told_s >= PLAIN_EVERY_S:
            self._told_s = time.monotonic()
            self._console.print(f"avse: {counted}, {text}", highlight=False, soft_wrap=True)


def described(tally: "Tally") -> str:
    """Sound done, speed, time left and failures."""
    n_failed = tally.n_failed + tally.n_failed_before
    left = "?" if tally.left_s is None else _clock(tally.left_s)
    return (
        f"{tally.audio_s / 3600:.2f} h of sound, {tally.speed:.1f} x real time, "
        f"{left} left, {n_failed} failed"
    )


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
