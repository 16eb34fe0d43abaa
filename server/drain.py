"""An orderly end: at SIGTERM no new work is taken, what runs is finished, then the server stops.

Uvicorn alone would close its doors at once and cancel event streams; so its signal handlers are
wrapped, and it is told to stop when the work is done.
"""

import asyncio
import logging
import signal
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

from anyio import to_thread

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_POLL_S = 0.05
_LOG = logging.getLogger(__name__)


class Drain:
    """Knows whether the service is about to end and how much is in flight.

    Args:
        limit_s: How long running work may take after the signal.
    """

    def __init__(self, limit_s: float) -> None:
        """Nothing is in flight."""
        self._limit_s = limit_s
        self._previous: dict[int, Any] = {}
        self._task: asyncio.Task[None] | None = None
        self._n_running: Callable[[], int] = lambda: 0
        self.is_draining = False
        self.n_in_flight = 0

    def install(self, finish: Callable[[], Awaitable[None]], n_running: Callable[[], int]) -> None:
        """Take over the signals; only possible in the main thread.

        Args:
            finish: Called once in the loop when the first signal comes.
            n_running: Jobs a worker holds; they are waited for. Blocking, called in a thread.
        """
        self._n_running = n_running
        if threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()

        def on_signal(number: int, frame: FrameType | None) -> None:
            if self.is_draining:  # the second one ends it at once
                self._stop_server(number, frame)
                return
            self.is_draining = True
            loop.call_soon_threadsafe(self._start, finish, number)

        for number in _SIGNALS:
            self._previous[number] = signal.signal(number, on_signal)

    def restore(self) -> None:
        """Give the signals back."""
        for number, before in self._previous.items():
            signal.signal(number, before)
        self._previous.clear()

    def _start(self, finish: Callable[[], Awaitable[None]], number: int) -> None:
        self._task = asyncio.ensure_future(self._run(finish, number))

    async def _run(self, finish: Callable[[], Awaitable[None]], number: int) -> None:
        _LOG.info("draining", extra={"n_in_flight": self.n_in_flight})
        try:
            await finish()
            async with asyncio.timeout(self._limit_s):
                while self.n_in_flight or await to_thread.run_sync(self._n_running):
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            _LOG.warning("drain limit reached", extra={"n_in_flight": self.n_in_flight})
        except Exception:
            _LOG.exception("drain failed")
        self._stop_server(number, None)

    def _stop_server(self, number: int, frame: FrameType | None) -> None:
        """Tell uvicorn to stop, without the signal it would raise again at its end: exit 0."""
        before = self._previous.get(number)
        server = getattr(before, "__self__", None)
        if server is not None and hasattr(server, "should_exit"):
            server.force_exit = server.should_exit
            server.should_exit = True
            if server.config.timeout_graceful_shutdown is None:
                server.config.timeout_graceful_shutdown = 2
        elif callable(before):
            before(number, frame)
