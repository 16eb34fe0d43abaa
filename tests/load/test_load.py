"""The load and fault scripts themselves, on a service with a stand-in for the networks."""

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
from tests.load import kills, memory, rates, stops
from tests.load.figures import percentile, save, show, spread
from tests.load.running import RunningServer

CLIP = b"RIFF" + bytes(2000)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with tempfile.TemporaryDirectory() as folder:
        settings = {"stand_in_ms": 20, "min_free_bytes": 0, "log_level": "WARNING"}
        with RunningServer(Path(folder), settings) as running:
            yield running


def test_percentiles() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.5, 0.95, 1.0)] == [50.0, 95.0, 100.0]
    assert math.isnan(percentile([], 0.5))
    assert spread(values)["max"] == 100.0


def test_rates_and_overload(server: RunningServer, tmp_path: Path) -> None:
    load = rates.Load(CLIP, seconds=1.0, stand_in_ms=20)
    rows = rates.measure_rates(server, load, [2])
    assert rows[0]["requests"] > 0
    assert rows[0]["other answers"] == "none"
    overload = rates.measure_overload(server, load, n_normal=2)
    assert [row["calls"] for row in overload] == ["normal", "accepted", "refused"]
    show("rates", rows)
    save(tmp_path / "figures.json", "rates", rows, {"cores": 2})
    assert "per s" in (tmp_path / "figures.json").read_text()


def test_uploads(server: RunningServer) -> None:
    (row,) = memory.measure_uploads(server, n_uploads=2, n_mb=3)
    assert row["answers"] == "202, 202"


def test_a_killed_api_comes_back_and_loses_nothing(server: RunningServer) -> None:
    row = kills.measure_kill(server, CLIP, kills.Kill("API", "queued"), n_jobs=3)
    assert [row[x] for x in ("lost", "doubled", "folders left", "still alive")] == [0] * 4


def test_sigterm_is_an_orderly_end(server: RunningServer) -> None:
    rows = stops.measure_sigterm(server, CLIP, n_clients=2, n_jobs=2)
    kept = {row["promise"]: row["kept"] for row in rows}
    assert kept["exit status"]
    assert kept["calls in flight, by status"], rows
    assert kept["calls on the way"], rows
    assert kept["queued jobs, after the next start"]
