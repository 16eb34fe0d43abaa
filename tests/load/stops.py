"""SIGTERM under sixteen clients with jobs queued, and a disk that becomes full."""

import asyncio
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.load.clients import Caller, Reply, enhancement
from tests.load.running import RunningServer, TooLate, is_alive, wait_until

_SETTLE_S = 3.0
_ACCEPTED_S = 0.5
"""A call sent less than this before the signal may reach the service after it, and is refused."""
_FULL_MB = 64


def measure_sigterm(
    server: RunningServer, clip: bytes, n_clients: int = 16, n_jobs: int = 5
) -> list[dict[str, Any]]:
    """End an API with calls in flight and jobs queued; start it again and wait for the jobs."""
    replies: list[Reply] = []
    threads = [
        threading.Thread(target=lambda: asyncio.run(_ask(server.port, clip, replies)))
        for _ in range(n_clients)
    ]
    for thread in threads:
        thread.start()
    time.sleep(_SETTLE_S)
    job_ids = [server.submit(clip) for _ in range(n_jobs)]
    n_before = len(replies)
    family = server.family()
    signaled_s = time.monotonic()
    server.end(signal.SIGTERM)
    wait_until(lambda: server.ready_status() != 200, look_s=0.02)
    unready_s = time.monotonic() - signaled_s
    status = server.wait_end()
    ended_s = time.monotonic() - signaled_s
    for thread in threads:
        thread.join()
    sent = replies[n_before:]
    late_s = signaled_s - _ACCEPTED_S
    in_flight = Counter(r.status for r in sent if r.began_s < late_s or r.status == 200)
    on_the_way = Counter(r.status for r in sent if late_s <= r.began_s < signaled_s)
    later = Counter(r.status for r in sent if r.began_s >= signaled_s)
    alive = [pid for pid in family.alive() if is_alive(pid)]
    return [
        _line("not ready after SIGTERM, s", "<= 1", round(unready_s, 2), unready_s <= 1),
        _line("ended after SIGTERM, s", "<= 30", round(ended_s, 1), ended_s <= 30),
        _line("exit status", "0", status, status == 0),
        _line("calls in flight, by status", "200 only", dict(in_flight), set(in_flight) <= {200}),
        _line("calls on the way", "200 or 503", dict(on_the_way), set(on_the_way) <= {200, 503}),
        _line("calls after it (0: refused)", "503 or 0", dict(later), set(later) <= {0, 503}),
        _line("processes left", "0", len(alive), not alive),
        _jobs_kept(server, job_ids),
    ]


async def _ask(port: int, clip: bytes, replies: list[Reply]) -> None:
    """Ask again and again until the service is no longer there or says so."""
    caller, sent = Caller(port), enhancement(clip)
    while True:
        reply = await caller.ask(sent)
        replies.append(reply)
        if reply.status != 200:
            caller.close()
            return


def _jobs_kept(server: RunningServer, job_ids: Sequence[str]) -> dict[str, Any]:
    """Start again; every queued job must come to its end."""
    server.start()
    server.wait_ready()
    n_well = 0
    for job_id in job_ids:
        n_well += _ended(server, job_id)["status"] == "succeeded"
        server.http.delete(f"/v1/jobs/{job_id}")
    kept = f"{n_well} of {len(job_ids)} done"
    return _line("queued jobs, after the next start", "all done", kept, n_well == len(job_ids))


def _status(server: RunningServer, job_id: str) -> str:
    return str(server.http.get(f"/v1/jobs/{job_id}").json().get("status"))


def _ended(server: RunningServer, job_id: str) -> dict[str, Any]:
    """The job when it has ended; after five minutes as it stands."""
    view: dict[str, Any] = {}
    for _ in range(10):
        answer = server.http.get(f"/v1/jobs/{job_id}", headers={"Prefer": "wait=30"})
        view = answer.json()
        if view["status"] not in ("queued", "running"):
            break
    return view


def _line(promise: str, target: str, seen: object, is_kept: bool) -> dict[str, Any]:
    return {"promise": promise, "target": target, "seen": seen, "kept": is_kept}


def small_disk_prefix(folder: Path) -> list[str]:
    """A command that runs another one with a small disk of its own at `folder`.

    Raises:
        TooLate: This machine allows no such disk.
    """
    mount = f'mount -t tmpfs -o size={_FULL_MB}m small "$0" && exec "$@"'
    prefix = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount, str(folder)]
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        raise TooLate(f"no user namespace with a tmpfs of its own: {error}") from error
    return prefix


class SmallDisk:
    """The disk of a service that runs under `small_disk_prefix`, seen from outside.

    Args:
        pid: The API process.
        folder: Where it is mounted there.
    """

    def __init__(self, pid: int, folder: Path) -> None:
        """Nothing of it is taken yet."""
        self.root = Path(f"/proc/{pid}/root{folder}")
        self._filler = self.root / "filler"

    def fill(self, left_bytes: int = 0) -> None:
        """Take what is free but for `left_bytes`."""
        with self._filler.open("ab", buffering=0) as filler:
            while (free := self.free_bytes() - left_bytes) > 0:
                try:
                    filler.write(bytes(min(free, 1_000_000)))
                except OSError:
                    return

    def free_bytes(self) -> int:
        """What is free."""
        found = os.statvfs(self.root)
        return found.f_bavail * found.f_frsize

    def empty(self) -> None:
        """Give it back."""
        self._filler.unlink(missing_ok=True)

    def folders(self) -> list[str]:
        """Job folders in the spool."""
        return sorted(each.name for each in (self.root / "spool").iterdir() if each.is_dir())


def measure_full_disk(server: RunningServer, disk: SmallDisk, clip: bytes) -> list[dict[str, Any]]:
    """Fill the disk while idle and while jobs run, then give the room back."""
    first = server.enhance(clip).status_code
    disk.fill()
    full = server.enhance(clip)
    full_job = server.http.post("/v1/jobs", files={"file": ("clip.mp4", clip)}).status_code
    ready, live = server.ready_status(), server.http.get("/v1/health/live").status_code
    disk.empty()
    after = server.enhance(clip).status_code
    during, n_ended = _filled_at_work(server, disk, clip)
    again = server.enhance(clip).status_code
    wait_until(lambda: not disk.folders(), 60)
    asks_again = "Retry-After" in full.headers
    return [
        _line("call before", "200", first, first == 200),
        _line("call with a full disk", "507", full.status_code, full.status_code == 507),
        _line("Retry-After with it", "yes", asks_again, asks_again),
        _line("job with a full disk", "507", full_job, full_job == 507),
        _line("ready / live then", "503 / 200", f"{ready} / {live}", (ready, live) == (503, 200)),
        _line("call when there is room again", "200", after, after == 200),
        _line("jobs that ran as it filled", "all end", during, n_ended == 4),
        _line("call after those", "200", again, again == 200),
        _line("folders left", "0", len(disk.folders()), not disk.folders()),
    ]


def _filled_at_work(
    server: RunningServer, disk: SmallDisk, clip: bytes
) -> tuple[dict[str, int], int]:
    """Four jobs, the disk full once one of them runs, room again after five seconds."""
    job_ids = [server.submit(clip, output="mp4") for _ in range(4)]
    wait_until(lambda: any(_status(server, job_id) == "running" for job_id in job_ids))
    time.sleep(0.3)
    disk.fill()
    time.sleep(5)
    disk.empty()
    ended = Counter[str]()
    for job_id in job_ids:
        view = _ended(server, job_id)
        ended[(view["error"] or {}).get("code", view["status"])] += 1
        server.http.delete(f"/v1/jobs/{job_id}")
    return dict(ended), sum(ended.values())
