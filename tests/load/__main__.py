"""Load and faults of a running service, as figures.

    python -m tests.load rates            # requests/s, p50, p95, batches, overhead; then overload
    python -m tests.load rates --stand-in-ms 50
    python -m tests.load uploads          # memory of the API during 500 MB uploads
    python -m tests.load soak             # memory over 200 short jobs
    python -m tests.load faults           # kill -9 everywhere, SIGTERM, full disk
    python -m tests.load replicas         # Ray Serve, one of two replicas killed

Each starts a service of its own on a free port with an empty spool; `--json FILE` keeps the
figures.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from tests.load import kills, memory, rates, stops
from tests.load.figures import console, machine, save, show
from tests.load.running import RunningServer, TooLate

app = typer.Typer(
    pretty_exceptions_enable=False, add_completion=False, no_args_is_help=True, help=__doc__
)
Json = Annotated[Path | None, typer.Option("--json", help="File that keeps the figures.")]
Clip = Annotated[
    Path | None, typer.Option(help="Media file to send; without it, a talking portrait is made.")
]
StandIn = Annotated[
    float, typer.Option(help="Sleep so long for each batch instead of reading and enhancing.")
]
# One anonymous client sends everything here: its own limit must not be what is measured.
_OPEN = {"max_jobs_per_key": 100_000, "log_level": "WARNING"}


def _clip(given: Path | None, duration_s: float) -> bytes:
    if given is not None:
        return given.read_bytes()
    from avse.demo import DemoConfig, make_demo_clip

    with tempfile.TemporaryDirectory() as folder:
        clip = make_demo_clip(Path(folder) / "clip.mp4", DemoConfig(duration_s=duration_s))
        return clip.path.read_bytes()


@contextmanager
def _server(**settings: object) -> Iterator[RunningServer]:
    with tempfile.TemporaryDirectory(prefix="avse-load-") as folder:
        server = RunningServer(Path(folder), {**_OPEN, **settings})
        try:
            with server:
                yield server
        finally:
            _tell_log(server)


def _tell_log(server: RunningServer) -> None:
    """Print the end of what the service logged: warnings and faults."""
    text = server.log.read_text(encoding="utf-8")
    if text:
        console.print(f"log of the service, its end:\n{text[-4000:]}", style="dim", markup=False)


def _keep(file: Path | None, name: str, rows: Sequence[dict[str, Any]], about: Any) -> None:
    show(f"{name}   {about}", rows)
    save(file, name, rows, about)


@app.command("rates")
def rates_command(
    json: Json = None,
    clip: Clip = None,
    stand_in_ms: StandIn = 0.0,
    seconds: Annotated[float, typer.Option(help="At each number of clients.")] = 30.0,
    clients: Annotated[str, typer.Option(help="Numbers of clients.")] = "1,4,16,64",
) -> None:
    """Requests a second, waiting times, batches and overhead; then three times the capacity."""
    load = rates.Load(_clip(clip, 2.0), seconds, stand_in_ms)
    word = f"stand-in of {stand_in_ms:g} ms" if stand_in_ms else "real model"
    with _server(stand_in_ms=stand_in_ms) as server:
        about = machine()
        levels = [int(each) for each in clients.split(",")]
        _keep(json, f"rates, {word}", rates.measure_rates(server, load, levels), about)
        _keep(json, f"overload, {word}", rates.measure_overload(server, load), machine())


@app.command("uploads")
def uploads_command(
    json: Json = None,
    n_uploads: Annotated[int, typer.Option(help="At the same time.")] = 4,
    n_mb: Annotated[int, typer.Option(help="Size of each.")] = 500,
) -> None:
    """Memory of the API during large uploads."""
    with _server(stand_in_ms=50) as server:
        about = machine()
        _keep(json, "uploads", memory.measure_uploads(server, n_uploads, n_mb), about)


@app.command("soak")
def soak_command(
    json: Json = None,
    clip: Clip = None,
    jobs: Annotated[int, typer.Option(help="How many, one second of media each.")] = 200,
) -> None:
    """Memory and descriptors of every process over many short jobs."""
    content = _clip(clip, 1.0)
    with _server() as server:
        about = machine()
        _keep(json, "soak", list(memory.measure_soak(server, content, jobs)), about)


@app.command("faults")
def faults_command(
    json: Json = None,
    clip: Clip = None,
    only: Annotated[str, typer.Option(help="kills, sync, sigterm, disk")] = (
        "kills,sync,sigterm,disk"
    ),
    stages: Annotated[str, typer.Option(help="Only kills at these stages, comma-separated.")] = "",
) -> None:
    """kill -9 of each process at each stage, SIGTERM under sixteen clients, a full disk."""
    content = _clip(clip, 2.0)
    parts = only.split(",")
    with _server() as server:
        if "kills" in parts:
            _kills(json, server, content, stages.split(",") if stages else kills.ALL_STAGES)
        if "sync" in parts:
            victims: tuple[kills.Victim, ...] = ("model process", "decode child", "zygote", "API")
            rows = [kills.measure_sync(server, content, victim) for victim in victims]
            _keep(json, "kill -9 during a synchronous call", rows, machine())
        if "sigterm" in parts:
            rows = stops.measure_sigterm(server, content)
            _keep(json, "SIGTERM under 16 clients", rows, machine())
    if "disk" in parts:
        _full_disk(json, content)


@app.command("replicas")
def replicas_command(
    json: Json = None,
    clip: Clip = None,
    n_clients: Annotated[int, typer.Option(help="At the same time.")] = 4,
    seconds: Annotated[float, typer.Option(help="The whole time; the kill after a third.")] = 90.0,
) -> None:
    """Two Ray Serve replicas, one killed under load (needs the extra `ray`)."""
    from tests.load.replicas import measure_replicas

    about = machine()
    rows = measure_replicas(_clip(clip, 2.0), n_clients, seconds)
    _keep(json, "Ray Serve, two replicas", rows, about)


def _kills(json: Path | None, server: RunningServer, content: bytes, stages: Sequence[str]) -> None:
    """Every kill at these stages; each row is kept as soon as it is known."""
    about, rows = machine(), []
    chosen = [kill for kill in kills.all_kills() if kill.stage in stages]
    for number, kill in enumerate(chosen, 1):
        rows.append(kills.measure_kill(server, content, kill))
        console.print(f"{number} of {len(chosen)}: {rows[-1]}", style="dim", markup=False)
        save(json, "kill -9 with jobs queued", rows, about)
    _keep(json, "kill -9 with jobs queued", rows, about)


def _full_disk(json: Path | None, content: bytes) -> None:
    with tempfile.TemporaryDirectory(prefix="avse-load-") as folder:
        place = Path(folder)
        try:
            prefix = stops.small_disk_prefix(place)
        except TooLate as error:
            console.print(f"full disk: skipped, {error}")
            return
        settings = {**_OPEN, "min_free_bytes": 4_000_000}
        with RunningServer(place, settings, prefix) as server:
            disk = stops.SmallDisk(server.family().api, place)
            try:
                rows = stops.measure_full_disk(server, disk, content)
                _keep(json, "full disk", rows, machine())
            finally:
                _tell_log(server)


if __name__ == "__main__":
    app()
