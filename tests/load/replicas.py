"""Two Ray Serve replicas under load, one of them killed: what clients see, and when it is back."""

import asyncio
import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.load.clients import Crowd, Reply, closed_loop
from tests.load.figures import percentile
from tests.load.running import free_port, wait_until
from tests.server.raw_http import request

_TITLE = b"ray::ServeReplica"


def replica_pids() -> set[int]:
    """Processes that hold a replica."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError):
                if (folder / "cmdline").read_bytes().startswith(_TITLE):
                    found.add(int(folder.name))
    return found


def measure_replicas(
    clip: bytes, n_clients: int, seconds: float, n_replicas: int = 2
) -> list[dict[str, Any]]:
    """Serve, load, kill one replica after a third of the time; rows before, until back, after."""
    import ray
    from ray import serve

    from server.ray_app import build

    port, strangers = free_port(), replica_pids()
    ray.init("local", num_cpus=n_replicas, include_dashboard=False, logging_level="WARNING")
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        start_s = time.monotonic()
        serve.run(build({"n_replicas": str(n_replicas), "n_cpus": "0.5"}))
        started_s = time.monotonic() - start_s
        sent = request("POST", "/", clip, [("Connection", "keep-alive")])
        striking = _Strike(strangers, seconds / 3)
        threading.Thread(target=striking.run, daemon=True).start()
        crowd = asyncio.run(closed_loop(port, sent, n_clients, seconds))
        wait_until(lambda: striking.back_s)
    finally:
        serve.shutdown()
        ray.shutdown()
    return _rows(crowd, striking, started_s)


class _Strike:
    """Kills a replica and notes when there are as many as before.

    Args:
        strangers: Replicas of others.
        after_s: When.
    """

    def __init__(self, strangers: set[int], after_s: float) -> None:
        self._strangers, self._after_s = strangers, after_s
        self.killed_s = self.back_s = 0.0

    def run(self) -> None:
        time.sleep(self._after_s)
        before = replica_pids() - self._strangers
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        self.killed_s = time.monotonic()
        wait_until(lambda: len(replica_pids() - self._strangers - {victim}) == len(before))
        self.back_s = time.monotonic()


def _rows(crowd: Crowd, striking: _Strike, started_s: float) -> list[dict[str, Any]]:
    """Answers by when they were given: before the kill, until the replica ran again, after."""

    def at(reply: Reply) -> float:
        return reply.began_s + reply.took_s

    first_s = min(reply.began_s for reply in crowd.replies)
    last_s = max(at(reply) for reply in crowd.replies)
    back_s = min(striking.back_s, last_s)
    spans = {
        f"two replicas (up after {started_s:.1f} s)": (first_s, striking.killed_s),
        "one killed, until it runs again": (striking.killed_s, back_s),
        "two again": (back_s, last_s),
    }
    rows = []
    for name, (begin_s, end_s) in spans.items():
        inside = [each for each in crowd.replies if begin_s <= at(each) <= end_s]
        took_ms = [1000 * each.took_s for each in inside if each.status == 200]
        rows.append(
            {
                "time": name,
                "seconds": round(end_s - begin_s, 1),
                "per s": round(len(took_ms) / max(end_s - begin_s, 1e-9), 2),
                "p50 ms": round(percentile(took_ms, 0.5)) if took_ms else "-",
                "p95 ms": round(percentile(took_ms, 0.95)) if took_ms else "-",
                "answers": dict(Counter(each.status for each in inside)),
            }
        )
    return rows
