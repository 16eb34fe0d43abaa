"""The model process for real: its own program, its own children, killed while it works."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from preprocessing.media import read_audio
from server.jobs import JobStore
from server.spool import Spool
from server.supervisor import Supervisor
from tests.media_factory import ClipSpec, make_clip
from tests.server import worker_parts
from tests.server.worker_parts import put_job, wait_for


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    settings = worker_parts.settings(tmp_path)
    store = JobStore(Spool(settings.spool_dir).database_path)
    watched = Supervisor(settings, store)
    watched.start()
    yield watched
    watched.stop(worker_parts.TIMEOUT_S)
    assert store.worker_states() == []
    store.close()


@pytest.mark.slow
def test_killed_at_work_it_comes_back_and_no_job_is_lost(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    store, spool = supervisor._store, Spool(tmp_path / "spool")
    clip = make_clip(tmp_path / "clip.mp4", ClipSpec())
    jobs = [put_job(store, spool, {"input": clip}, output="flac") for _ in range(2)]
    waited_for = put_job(store, spool, {"input": clip}, is_sync=True)

    def status(job_id: str) -> str:
        found = store.get(job_id)
        assert found is not None
        return found.status

    wait_for(lambda: status(waited_for.id) == "running")
    pid = supervisor.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: status(waited_for.id) != "running")
    lost = store.get(waited_for.id)
    assert lost is not None
    assert (lost.status, lost.code) == ("failed", "worker_lost")
    wait_for(lambda: all(status(job.id) == "succeeded" for job in jobs))
    assert supervisor.n_starts == 2
    for job in jobs:
        found = store.get(job.id)
        assert found is not None
        events = [event.name for event in store.events(job.id)]
        assert events.count("succeeded") == 1
        sound = read_audio(spool.folder(job.id) / found.outputs["audio"])
        assert sound.duration_s == pytest.approx(1.6, abs=0.1)
        names = {path.name for path in spool.folder(job.id).iterdir()}
        assert names == {"input", *found.outputs.values()}
