"""Seconds of each case, shown at the end of the run and never asserted."""

import contextlib
import time
from collections.abc import Iterator

import pytest

N_SHOWN = 12


class Stopwatch:
    """Notes how long named things take."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Note the time of the block under this name."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] = time.perf_counter() - start

    def show(self, title: str, config: pytest.Config) -> None:
        """Write the slowest ones and the sum to the terminal."""
        reporter = config.pluginmanager.get_plugin("terminalreporter")
        if reporter is None or not self._seconds:
            return
        slowest = sorted(self._seconds.items(), key=lambda item: -item[1])
        total_s = sum(self._seconds.values())
        reporter.ensure_newline()
        reporter.write_line(f"{title}: {len(slowest)} cases, {total_s:.1f} s; the slowest:")
        for name, seconds in slowest[:N_SHOWN]:
            reporter.write_line(f"  {seconds:8.2f} s  {name}")
