"""Requests a second, waiting times, batches, overhead; and what happens at three times capacity."""

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.load.clients import Crowd, Reply, closed_loop, enhancement, open_loop
from tests.load.figures import percentile, spread
from tests.load.running import RunningServer, cpu_s

_BATCH = "avse_batch_size"
_WAITING = ("queue", "total")


@dataclass(frozen=True, slots=True)
class Load:
    """What is sent.

    Attributes:
        clip: The media file of every request.
        seconds: How long clients start new requests at each level.
        stand_in_ms: What a batch takes where no model runs; 0 with the real model.
    """

    clip: bytes
    seconds: float
    stand_in_ms: float = 0.0


def measure_rates(server: RunningServer, load: Load, levels: Sequence[int]) -> list[dict[str, Any]]:
    """One row for each number of clients."""
    sent = enhancement(load.clip)
    asyncio.run(closed_loop(server.port, sent, 1, 1.0))  # files and code are in memory after that
    rows = []
    for n_clients in levels:
        before, spent_s = server.numbers(), _computing_s(server)
        crowd = asyncio.run(closed_loop(server.port, sent, n_clients, load.seconds))
        row = _row(crowd, before, server.numbers(), load)
        rows.append({"clients": n_clients, **row, **_cpu_ms(server, spent_s, crowd)})
    return rows


def _row(
    crowd: Crowd, before: Mapping[str, float], after: Mapping[str, float], load: Load
) -> dict[str, Any]:
    took_ms = [1000 * reply.took_s for reply in crowd.well()]
    n_batches = after[f"{_BATCH}_count"] - before[f"{_BATCH}_count"]
    in_batches = after[f"{_BATCH}_sum"] - before[f"{_BATCH}_sum"]
    overhead_ms = [1000 * reply.took_s - _work_ms(reply, load) for reply in crowd.well()]
    return {
        "requests": len(crowd.replies),
        "per s": round(len(took_ms) / crowd.wall_s, 2),
        "p50 ms": round(percentile(took_ms, 0.5), 1),
        "p95 ms": round(percentile(took_ms, 0.95), 1),
        "mean batch": round(in_batches / n_batches, 2) if n_batches else float("nan"),
        "overhead p50 ms": round(percentile(overhead_ms, 0.5), 1),
        "other answers": _others(crowd),
    }


def _computing_s(server: RunningServer) -> dict[str, float]:
    family = server.family()
    return {"API": cpu_s(family.api), "model": cpu_s(family.model)}


def _cpu_ms(server: RunningServer, before_s: Mapping[str, float], crowd: Crowd) -> dict[str, float]:
    """Computing of the API for each request, and of the model process for each result."""
    now_s = _computing_s(server)
    counts = {"API": len(crowd.replies), "model": len(crowd.well())}
    return {
        f"{name} CPU ms": round(1000 * (now_s[name] - before_s[name]) / max(1, counts[name]), 1)
        for name in counts
    }


def _work_ms(reply: Reply, load: Load) -> float:
    """What reading, network and writing took; the rest is waiting and overhead."""
    if load.stand_in_ms:
        return load.stand_in_ms
    stages = re.findall(r"(\w+);dur=([0-9.]+)", reply.headers.get("server-timing", ""))
    return sum(float(spent) for name, spent in stages if name not in _WAITING)


def _others(crowd: Crowd) -> str:
    counts = Counter(reply.status for reply in crowd.replies if reply.status != 200)
    return ", ".join(f"{n} x {status}" for status, n in sorted(counts.items())) or "none"


def measure_overload(
    server: RunningServer, load: Load, n_normal: int = 16, factor: float = 3.0
) -> list[dict[str, Any]]:
    """Waiting times with as many clients as it works for at once, then at `factor` times that pace.

    Returns:
        Rows `normal`, `accepted` and `refused`.
    """
    sent = enhancement(load.clip)
    normal = asyncio.run(closed_loop(server.port, sent, n_normal, load.seconds))
    capacity = len(normal.well()) / normal.wall_s
    crowd = asyncio.run(open_loop(server.port, sent, factor * capacity, load.seconds))
    refused = crowd.refused()
    told = sum("retry-after" in reply.headers for reply in refused)
    took = {"normal": normal.well(), "accepted": crowd.well(), "refused": refused}
    notes = {
        "normal": f"{n_normal} clients, {capacity:.2f} per s",
        "accepted": f"{factor * capacity:.2f} asked per s, other answers: {_others(crowd)}",
        "refused": f"{told} of {len(refused)} with Retry-After",
    }
    return [
        {"calls": name, **_spread_ms(replies), "note": notes[name]}
        for name, replies in took.items()
    ]


def _spread_ms(replies: Sequence[Reply]) -> dict[str, float]:
    found = spread([1000 * reply.took_s for reply in replies])
    return {key if key == "n" else f"{key} ms": value for key, value in found.items()}
