"""Waiting for jobs without a thread each: one look at the store for all who wait."""

import asyncio
import logging
from collections import defaultdict
from contextlib import suppress

from anyio import to_thread

from server.jobs import JobStore

_INTERVAL_S = 0.01
_LOG = logging.getLogger(__name__)


class JobWatcher:
    """Wakes those who wait for a change of a job.

    Args:
        store: Where jobs change, by whatever process.
    """

    def __init__(self, store: JobStore) -> None:
        """No one waits yet."""
        self._store = store
        self._waiting: defaultdict[str, set[tuple[int, asyncio.Future[None]]]] = defaultdict(set)
        self._someone = asyncio.Event()

    async def wait(self, job_id: str, version: int, timeout_s: float) -> None:
        """Return when the job has another version or is gone, the time is over, or `wake_all`."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (version, woken)
        self._waiting[job_id].add(entry)
        self._someone.set()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_s):
                    await woken
        finally:
            self._forget(job_id, entry)

    def _forget(self, job_id: str, entry: tuple[int, asyncio.Future[None]]) -> None:
        self._waiting[job_id].discard(entry)
        if not self._waiting[job_id]:
            del self._waiting[job_id]

    async def run(self) -> None:
        """Look at the store again and again while anyone waits; until canceled."""
        with self._store.changes() as last_change:
            seen = 0
            while True:
                if not self._waiting:
                    await self._someone.wait()
                try:
                    change = last_change()
                    if change != seen or self._someone.is_set():
                        await self._look()
                    seen = change
                except Exception:
                    _LOG.exception("the store of jobs could not be read")
                    self._someone.set()
                    await asyncio.sleep(1.0)
                await asyncio.sleep(_INTERVAL_S)

    async def _look(self) -> None:
        self._someone.clear()
        versions = await to_thread.run_sync(self._store.versions, list(self._waiting))
        self._wake(versions)

    def _wake(self, versions: dict[str, int]) -> None:
        for job_id, entries in list(self._waiting.items()):
            now = versions.get(job_id)
            for version, woken in entries:
                if version != now and not woken.done():
                    woken.set_result(None)

    def wake_all(self) -> None:
        """Let everyone who waits look for themselves, such as when the service is about to end."""
        for entries in self._waiting.values():
            for _, woken in entries:
                if not woken.done():
                    woken.set_result(None)
