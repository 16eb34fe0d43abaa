"""kill -9 of each process at each stage with jobs queued: is anything lost, doubled or left?"""

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from tests.load.clients import enhancement
from tests.load.running import Family, RunningServer, TooLate, cpu_s, is_alive, wait_until

Victim = Literal["API", "model process", "zygote", "decode child"]
STAGES = ("probe", "decode", "track", "infer", "encode", "mux")
ALL_STAGES = ("upload", "queued", *STAGES)
IN_A_CHILD = ("probe", "decode", "track", "encode", "mux")
_FINAL = ("succeeded", "failed", "canceled")
_CATCH_S = 60.0
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Kill:
    """Who is killed, and what a job is at then."""

    victim: Victim
    stage: str


def all_kills() -> list[Kill]:
    """Each process at each stage at which it has a part."""
    kills = [Kill("API", stage) for stage in ALL_STAGES]
    kills += [Kill("model process", stage) for stage in ("queued", *STAGES)]
    kills += [Kill("decode child", stage) for stage in IN_A_CHILD]
    return [*kills, Kill("zygote", "track")]


def measure_kill(server: RunningServer, clip: bytes, kill: Kill, n_jobs: int = 4) -> dict[str, Any]:
    """Queue jobs, kill, start again what nobody else starts, wait for all; one row."""
    job_ids, before = _strike(server, clip, kill, n_jobs)
    killed_s = time.monotonic()
    if kill.victim == "API":
        server.wait_end()
        server.start()
        server.wait_ready()
    resumed_s = _resumed_s(server, kill, job_ids, before, killed_s)
    computed_s = _computing_s(server, before)
    wait_until(lambda: _n_final(server, job_ids) == n_jobs, look_s=0.1)
    done_s = time.monotonic() - killed_s
    found = _outcome(server, job_ids)
    for job_id in job_ids:
        server.http.delete(f"/v1/jobs/{job_id}")
    with contextlib.suppress(TooLate):
        wait_until(lambda: not server.folders(), 60)
    return {
        "killed": kill.victim,
        "at": kill.stage,
        "jobs": n_jobs,
        **found,
        "resumed s": round(resumed_s, 1),
        "all done s": round(done_s, 1),
        "folders left": len(server.folders()),
        "still alive": len(_left(before, kill)),
        "CPU s": computed_s,
        "load": round(os.getloadavg()[0], 1),
    }


def _strike(
    server: RunningServer, clip: bytes, kill: Kill, n_jobs: int
) -> tuple[list[str], Family]:
    """Kill when a job is at the stage; once more with other jobs where it was missed.

    Raises:
        TooLate: No job was caught there.
    """
    for _ in range(_TRIES):
        job_ids = [server.submit(clip, output="mp4") for _ in range(n_jobs)]
        with contextlib.suppress(TooLate), _uploading(server, clip, kill):
            wait_until(lambda ids=job_ids: _is_at(server, ids, kill.stage), _CATCH_S)
            family = server.family()
            with contextlib.suppress(ProcessLookupError):
                os.kill(_pid(family, kill), signal.SIGKILL)
                return job_ids, family
        wait_until(lambda ids=job_ids: _n_final(server, ids) == n_jobs)
        for job_id in job_ids:
            server.http.delete(f"/v1/jobs/{job_id}")
    raise TooLate(f"no job was caught at {kill.stage}")


@contextlib.contextmanager
def _uploading(server: RunningServer, clip: bytes, kill: Kill) -> Any:
    """Half an upload under way, where that is the stage."""
    if kill.stage != "upload":
        yield
        return
    sent = enhancement(clip, "/v1/jobs")
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(sent[: len(sent) // 2])
        time.sleep(0.5)
        yield


def _is_at(server: RunningServer, job_ids: Sequence[str], stage: str) -> bool:
    if stage in ("upload", "queued"):
        return True
    marks = ",".join("?" * len(job_ids))
    query = f"SELECT 1 FROM jobs WHERE stage = ? AND status = 'running' AND id IN ({marks})"
    return bool(server.rows(query, stage, *job_ids))


def _pid(family: Family, kill: Kill) -> int:
    """Who is killed.

    Raises:
        ProcessLookupError: There is no such process now.
    """
    child = family.children[0] if family.children else None
    named = {"API": family.api, "model process": family.model, "zygote": family.zygote}
    pid = named.get(kill.victim, child)
    if pid is None:
        raise ProcessLookupError(kill.victim)
    return pid


def _resumed_s(
    server: RunningServer, kill: Kill, job_ids: Sequence[str], before: Family, killed_s: float
) -> float:
    """Seconds from the kill until work goes on."""
    marks = ",".join("?" * len(job_ids))
    query = f"""SELECT 1 FROM jobs WHERE id IN ({marks}) AND status = 'running'
        AND worker_id NOT IN (SELECT worker_id FROM workers WHERE pid = ?)"""

    def goes_on() -> bool:
        if _n_final(server, job_ids) == len(job_ids):
            return True
        if kill.victim in ("decode child", "zygote"):
            return bool(set(server.family().children) - set(before.children))
        return bool(server.rows(query, *job_ids, before.model or 0)) and _has_worker(server, before)

    wait_until(goes_on, look_s=0.05)
    return time.monotonic() - killed_s


def _computing_s(server: RunningServer, before: Family) -> float:
    """Computing of the processes that took the place of others; what a busy machine stretches."""
    now = server.family()
    pairs = ((now.api, before.api), (now.model, before.model), (now.zygote, before.zygote))
    return round(sum(cpu_s(pid) for pid, earlier in pairs if pid != earlier), 1)


def _has_worker(server: RunningServer, before: Family) -> bool:
    return bool(server.rows("SELECT 1 FROM workers WHERE pid != ?", before.model or 0))


def _n_final(server: RunningServer, job_ids: Sequence[str]) -> int:
    states = dict(server.rows("SELECT id, status FROM jobs"))
    return sum(states.get(job_id, "lost") in (*_FINAL, "lost") for job_id in job_ids)


def _outcome(server: RunningServer, job_ids: Sequence[str]) -> dict[str, Any]:
    """Jobs without a result that can be fetched, and jobs that ended more than once."""
    n_lost = n_doubled = 0
    for job_id in job_ids:
        answer = server.http.get(f"/v1/jobs/{job_id}/content", params={"variant": "video"})
        n_lost += answer.status_code != 200
        query = "SELECT count(*) FROM events WHERE job_id = ? AND name = 'succeeded'"
        n_doubled += server.rows(query, job_id)[0][0] > 1
    return {"lost": n_lost, "doubled": n_doubled}


def _left(before: Family, kill: Kill) -> list[int]:
    """Processes that should have ended with the one that was killed."""
    gone = {
        "API": (before.model, before.zygote, *before.children),
        "model process": (before.zygote, *before.children),
        "zygote": before.children,
    }
    return [pid for pid in gone.get(kill.victim, ()) if pid is not None and is_alive(pid)]


def measure_sync(server: RunningServer, clip: bytes, victim: Victim) -> dict[str, Any]:
    """A call that waits for its result while a process is killed; one row."""
    answers: list[tuple[str, float]] = []

    def ask() -> None:
        try:
            answer = server.enhance(clip)
            said = "200"
            if answer.status_code != 200:
                said = f"{answer.status_code} {answer.json()['code']}"
        except httpx.HTTPError as error:
            said = type(error).__name__
        answers.append((said, time.monotonic()))

    calling = threading.Thread(target=ask)
    calling.start()
    query = "SELECT 1 FROM jobs WHERE is_sync = 1 AND stage = 'track'"
    wait_until(lambda: server.rows(query))
    family = server.family()
    os.kill(_pid(family, Kill(victim, "track")), signal.SIGKILL)
    killed_s = time.monotonic()
    if victim == "API":
        server.wait_end()
        server.start()
    calling.join()
    server.wait_ready()
    ready_s = time.monotonic() - killed_s
    wait_until(lambda: not server.folders())
    computed_s = _computing_s(server, family)
    said, answered_s = answers[0]
    return {
        "killed": victim,
        "answer": said,
        "after s": round(answered_s - killed_s, 2),
        "ready again s": round(ready_s, 1),
        "CPU s": computed_s,
        "folders left": len(server.folders()),
        "load": round(os.getloadavg()[0], 1),
    }
