"""`avse serve` as an operator runs it: a process of its own, its children, its spool."""

import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import httpx

ROOT = Path(__file__).parents[2]
PATIENCE_S = 300.0
_POLL_S = 0.005


class TooLate(Exception):
    """What was waited for did not come."""


@dataclass(frozen=True, slots=True)
class Family:
    """Process ids of a running service; None and () for what is not there.

    Attributes:
        api: Receives and answers.
        model: Holds the networks.
        zygote: Parent of the decode children.
        children: Decode children.
    """

    api: int
    model: int | None = None
    zygote: int | None = None
    children: tuple[int, ...] = ()

    def alive(self) -> list[int]:
        """Those of all that still run."""
        known = (self.api, self.model, self.zygote, *self.children)
        return [pid for pid in known if pid is not None and is_alive(pid)]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def _parents() -> Iterator[tuple[int, int]]:
    """Process and parent of all that run."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                stat = (folder / "stat").read_text(encoding="ascii").rpartition(")")[2].split()
                if stat[0] != "Z":
                    yield int(folder.name), int(stat[1])


def _runs(pid: int, module: str) -> bool:
    with contextlib.suppress(OSError):
        return module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def memory_mb(pid: int, field: str = "VmRSS") -> float:
    """Memory of a process: `VmRSS` now, `VmHWM` the most so far; megabytes of 10^6 bytes."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def cpu_s(pid: int | None) -> float:
    """Computing a process has done so far, which a busy machine does not stretch."""
    if pid is None or not is_alive(pid):
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def n_open_files(pid: int) -> int:
    """Descriptors a process holds."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def wait_until(
    condition: Callable[[], object], patience_s: float = PATIENCE_S, look_s: float = _POLL_S
) -> float:
    """Seconds until a condition holds.

    Raises:
        TooLate: It did not within `patience_s`.
    """
    start_s = time.monotonic()
    while not condition():
        if time.monotonic() - start_s > patience_s:
            raise TooLate(f"not within {patience_s:g} s")
        time.sleep(look_s)
    return time.monotonic() - start_s


def free_port() -> int:
    """A port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class RunningServer:
    """A service on a spool of its own; started again on the same port as often as wanted.

    Args:
        folder: Of the spool and the log.
        settings: `AVSE_...` variables by their names without the prefix, in lower case.
        prefix: Command that runs the service, such as one that gives it a small disk.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, object] = {}, prefix: Sequence[str] = ()
    ) -> None:
        """Start nothing yet."""
        self.spool = folder / "spool"
        self.log = folder / "server.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=self.url, timeout=PATIENCE_S)
        named = {f"AVSE_{name.upper()}": str(value) for name, value in settings.items()}
        self._environment = {**os.environ, **named, "AVSE_SPOOL_DIR": str(self.spool)}
        self._command = [*prefix, sys.executable, "-m", "avse", "serve", "--port", str(self.port)]
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        """Start and wait until it takes work."""
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End whatever runs."""
        self.http.close()
        if self._child is not None and self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(60)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()

    def start(self) -> None:
        """Start it; the log goes on."""
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self._command, cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )

    def wait_ready(self) -> float:
        """Seconds until it says that it takes work."""
        return wait_until(self.is_ready, look_s=0.05)

    def is_ready(self) -> bool:
        """Whether it says so now."""
        assert self._child is not None
        if self._child.poll() is not None:
            raise TooLate(f"the server ended with status {self._child.returncode}")
        return self.ready_status() == 200

    def ready_status(self) -> int:
        """Status of the readiness probe; 0 where nobody listens."""
        try:
            return self.http.get("/v1/health/ready", timeout=10).status_code
        except httpx.HTTPError:
            return 0

    def end(self, number: signal.Signals) -> None:
        """Send a signal to the API process."""
        assert self._child is not None
        self._child.send_signal(number)

    def wait_end(self) -> int:
        """Exit status of the API process."""
        assert self._child is not None
        return self._child.wait(PATIENCE_S)

    def family(self) -> Family:
        """Its processes as they are now."""
        assert self._child is not None
        pairs = list(_parents())
        api = self._child.pid
        model = next((c for c, p in pairs if p == api and _runs(c, "server.worker")), None)
        zygote = next((c for c, p in pairs if p == model and _runs(c, "server.zygote")), None)
        children = tuple(c for c, p in pairs if zygote is not None and p == zygote)
        return Family(api, model, zygote, children)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What the store of jobs holds, read beside the service."""
        address = f"file:{self.spool / 'jobs.sqlite3'}?mode=ro"
        with contextlib.closing(sqlite3.connect(address, uri=True, timeout=10)) as connection:
            return connection.execute(query, values).fetchall()

    def folders(self) -> list[str]:
        """Job folders in the spool, and those on their way out."""
        return sorted(path.name for path in self.spool.iterdir() if path.is_dir())

    def submit(self, clip: bytes, **fields: str) -> str:
        """Id of a new job."""
        answer = self.http.post("/v1/jobs", files={"file": ("clip.mp4", clip)}, data=fields)
        answer.raise_for_status()
        return str(answer.json()["id"])

    def enhance(self, clip: bytes, **fields: str) -> httpx.Response:
        """A call that waits for its result."""
        files = {"file": ("clip.mp4", clip)}
        return self.http.post("/v1/audio/enhancements", files=files, data=fields)

    def numbers(self) -> dict[str, float]:
        """/metrics by name and labels."""
        found = {}
        for line in self.http.get("/metrics").text.splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name] = float(value)
        return found
