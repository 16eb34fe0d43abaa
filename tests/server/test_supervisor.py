"""The supervisor with stand-ins for the model process: restarts, lost jobs, orderly ends."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from server.job_types import NewJob
from server.jobs import JobStore
from server.settings import Settings
from server.spool import Spool
from server.supervisor import BackOff, Supervisor

TIMEOUT_S = 120
# Says that it lives and how it was called, then does as told.
SAYS = "import os, sys; open(sys.argv[1] + '/' + sys.argv[-2], 'w').write(sys.stdin.read());"


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(Spool(tmp_path / "spool").database_path)


def supervisor(tmp_path: Path, store: JobStore, program: str) -> Supervisor:
    command = (sys.executable, "-c", SAYS + program, str(tmp_path))
    settings = Settings(spool_dir=tmp_path / "spool", webhook_secret="hidden", max_batch=3)
    return Supervisor(settings, store, command=command, back_off=BackOff(0.01, 0.05))


def wait_for(condition: Callable[[], object]) -> None:
    gave_up = threading.Event()
    timer = threading.Timer(TIMEOUT_S, gave_up.set)
    timer.start()
    while not condition():
        assert not gave_up.is_set()
        gave_up.wait(0.01)
    timer.cancel()


def test_one_that_dies_is_started_again_and_its_jobs_wait_again(
    tmp_path: Path, store: JobStore
) -> None:
    watched = supervisor(tmp_path, store, "import time; time.sleep(600)")
    watched.start()
    wait_for(lambda: (tmp_path / watched.worker_id).is_file() if watched.worker_id else False)
    first_pid, first_id = watched.pid, watched.worker_id
    job = store.create(NewJob("enhancement"))
    lost = store.create(NewJob("enhancement", max_attempts=1))
    store.worker_state(first_id, "ready", first_pid or 0)
    assert store.claim(first_id, ["enhancement"]) is not None
    assert store.claim(first_id, ["enhancement"]) is not None
    assert first_pid is not None
    os.kill(first_pid, signal.SIGKILL)
    wait_for(lambda: watched.pid not in (None, first_pid))
    found, gone = store.get(job.id), store.get(lost.id)
    assert found is not None
    assert (found.status, found.attempts) == ("queued", 1)
    assert gone is not None
    assert (gone.status, gone.code) == ("failed", "worker_lost")
    assert store.worker_states() == []
    watched.stop(0.1)
    assert watched.pid is None
    assert watched.n_starts == 2


def test_settings_come_on_standard_input_without_secrets(tmp_path: Path, store: JobStore) -> None:
    watched = supervisor(tmp_path, store, "import time; time.sleep(600)")
    watched.start()
    wait_for(lambda: watched.worker_id and (tmp_path / watched.worker_id).is_file())
    watched.stop(0.1)
    text = (tmp_path / watched.worker_id).read_text()
    assert "hidden" not in text
    if text:  # it may have been ended before it read them
        assert Settings.model_validate_json(text).max_batch == 3


def test_one_that_ends_in_order_is_not_killed(tmp_path: Path, store: JobStore) -> None:
    program = """
import signal, time
def end(*_):
    open(sys.argv[1] + '/ended', 'w').close()
    os._exit(0)
signal.signal(signal.SIGTERM, end)
open(sys.argv[1] + '/up', 'w').close()
time.sleep(600)
"""
    watched = supervisor(tmp_path, store, program)
    watched.start()
    wait_for((tmp_path / "up").is_file)
    watched.stop(TIMEOUT_S)
    assert (tmp_path / "ended").is_file()
    assert watched.n_starts == 1


def test_jobs_of_an_earlier_life_are_freed_at_the_start(tmp_path: Path, store: JobStore) -> None:
    job = store.create(NewJob("enhancement"))
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    store.worker_state("worker_old", "ready", pid)
    store.claim("worker_old", ["enhancement"])
    watched = supervisor(tmp_path, store, "import time; time.sleep(600)")
    watched.start()
    found = store.get(job.id)
    assert found is not None
    assert found.status == "queued"
    watched.stop(0.1)


def test_pauses_grow_and_have_an_end() -> None:
    back_off = BackOff(0.5, 30.0)
    assert [back_off.pause_s(n) for n in (0, 1, 2, 3, 4)] == [0.0, 0.0, 0.5, 1.0, 2.0]
    assert back_off.pause_s(1000) == 30.0
