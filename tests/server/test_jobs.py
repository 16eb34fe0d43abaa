"""The store of jobs: leases, attempts, idempotency, expiry, events."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.job_types import (
    IdempotencyMismatch,
    JobConflict,
    JobNotFound,
    NewJob,
    Observation,
    QueueFull,
    RateLimited,
)
from server.jobs import JobStore


class Clock:
    """Seconds that pass when told."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[JobStore]:
    with JobStore(tmp_path / "jobs.sqlite3", clock) as opened:
        yield opened


KINDS = ("enhancement",)


def names(store: JobStore, job_id: str) -> list[str]:
    return [event.name for event in store.events(job_id)]


def test_highest_priority_first_then_oldest(store: JobStore) -> None:
    first, second = store.create(NewJob("enhancement")), store.create(NewJob("enhancement"))
    urgent = store.create(NewJob("enhancement", priority=10))
    other = store.create(NewJob("faces"))
    assert [store.queue_position(job.id) for job in (urgent, first, second)] == [0, 1, 2]
    taken = [store.claim("w", KINDS) for _ in range(3)]
    assert [job.id for job in taken if job] == [urgent.id, first.id, second.id]
    assert store.claim("w", KINDS) is None
    assert store.queue_position(other.id) == 0
    assert store.queue_position(first.id) is None


def test_a_silent_worker_loses_its_job_and_is_not_heard_any_more(
    store: JobStore, clock: Clock
) -> None:
    job = store.create(NewJob("enhancement", max_attempts=2))
    store.claim("dead", KINDS, lease_s=15)
    clock.now_s += 10
    assert store.heartbeat("dead", 15) == []
    clock.now_s += 10
    assert store.reap() == []
    clock.now_s += 10
    assert store.reap() == [job.id]
    again = store.claim("alive", KINDS)
    assert again is not None
    assert again.attempts == 2
    assert not store.set_progress(job.id, "dead", "infer", 0.5)
    assert not store.warn(job.id, "dead", "x")
    assert not store.fail(job.id, "dead", "internal", "x")
    assert not store.succeed(job.id, "dead", {}, {})
    assert store.succeed(job.id, "alive", {"audio": "output.wav"}, {"report": {}})
    assert names(store, job.id).count("succeeded") == 1


def test_after_the_last_attempt_a_job_is_lost(store: JobStore) -> None:
    job = store.create(NewJob("enhancement", max_attempts=1))
    store.claim("w", KINDS)
    assert store.lose_worker("w") == [job.id]
    ended = store.get(job.id)
    assert ended is not None
    assert (ended.status, ended.code) == ("failed", "worker_lost")
    assert names(store, job.id) == ["failed"]


def test_a_restart_of_the_api_costs_no_attempt(store: JobStore) -> None:
    job = store.create(NewJob("enhancement", max_attempts=1))
    for _ in range(3):
        store.claim("w", KINDS)
        assert store.release_all() == [job.id]
    waiting = store.get(job.id)
    assert waiting is not None
    assert (waiting.status, waiting.attempts) == ("queued", 0)
    store.claim("w", KINDS)
    assert store.give_back(job.id, "w")
    assert not store.give_back(job.id, "w")


def test_cancel_in_each_state(store: JobStore) -> None:
    waiting = store.create(NewJob("enhancement"))
    assert store.cancel(waiting.id).status == "canceled"
    assert store.cancel(waiting.id).status == "canceled"
    running = store.create(NewJob("enhancement"))
    store.claim("w", KINDS)
    assert store.cancel(running.id).is_cancel_requested
    assert store.heartbeat("w") == [running.id]
    assert store.canceled(running.id, "w")
    done = store.create(NewJob("enhancement"))
    store.claim("w", KINDS)
    store.succeed(done.id, "w", {}, {})
    with pytest.raises(JobConflict):
        store.cancel(done.id)
    with pytest.raises(JobNotFound):
        store.cancel("job_none")


def test_a_canceled_job_of_a_dead_worker_is_canceled(store: JobStore) -> None:
    job = store.create(NewJob("enhancement"))
    store.claim("w", KINDS)
    store.cancel(job.id)
    store.lose_worker("w")
    found = store.get(job.id)
    assert found is not None
    assert found.status == "canceled"


def test_the_same_key_gives_the_same_job(store: JobStore) -> None:
    first = store.create(NewJob("enhancement", idempotency_key="k", request_hash="a"))
    again = store.create(NewJob("enhancement", idempotency_key="k", request_hash="a"))
    assert again.id == first.id
    other = store.create(NewJob("enhancement", owner="else", idempotency_key="k", request_hash="b"))
    assert other.id != first.id
    with pytest.raises(IdempotencyMismatch):
        store.create(NewJob("enhancement", idempotency_key="k", request_hash="b"))
    assert store.idempotency("k", "", "a") == first
    assert store.idempotency("new", "", "a") is None
    store.delete(first.id)
    assert store.idempotency("k", "", "a") is None


def test_the_queue_is_bounded(store: JobStore) -> None:
    store.create(NewJob("enhancement", owner="a"), max_queued=2, max_owned=1)
    with pytest.raises(RateLimited):
        store.create(NewJob("enhancement", owner="a"), max_queued=2, max_owned=1)
    store.create(NewJob("enhancement", owner="b"), max_queued=2, max_owned=1)
    with pytest.raises(QueueFull):
        store.create(NewJob("enhancement", owner="c"), max_queued=2, max_owned=1)


def test_small_steps_are_not_kept_and_progress_never_falls(store: JobStore) -> None:
    job = store.create(NewJob("enhancement"))
    store.claim("w", KINDS)
    for fraction in (0.1, 0.101, 0.102, 0.5, 0.4):
        assert store.set_progress(job.id, "w", "infer", fraction)
    store.warn(job.id, "w", "hm")
    store.warn(job.id, "w", "hm")
    payloads = [event.payload for event in store.events(job.id) if event.name == "progress"]
    assert [each["progress"] for each in payloads] == [0.1, 0.5]
    assert names(store, job.id).count("warning") == 1
    assert [event.id for event in store.events(job.id, after=2)] == [3]


def test_expired_jobs_are_known_to_have_been(store: JobStore, clock: Clock) -> None:
    job = store.create(NewJob("enhancement", owner="a", ttl_s=60))
    store.claim("w", KINDS)
    store.succeed(job.id, "w", {}, {})
    clock.now_s += 59
    assert store.expire() == []
    clock.now_s += 2
    assert store.expire() == [job.id]
    assert store.get(job.id) is None
    assert store.events(job.id) == []
    assert store.is_expired(job.id, "a")
    assert store.is_expired(job.id, None)
    assert not store.is_expired(job.id, "b")


def test_pages_of_jobs(store: JobStore) -> None:
    made = [store.create(NewJob("enhancement", owner="a")).id for _ in range(5)]
    store.create(NewJob("faces", owner="b"))
    store.create(NewJob("enhancement", owner="a", is_sync=True))
    assert [job.id for job in store.page("a", limit=2)] == made[:-3:-1]
    assert [job.id for job in store.page("a", after=made[3])] == made[2::-1]
    assert [job.kind for job in store.page(kind="faces")] == ["faces"]
    assert store.page(status="running") == []


def test_while_draining_only_calls_that_wait_are_served(store: JobStore) -> None:
    store.create(NewJob("enhancement"))
    sync = store.create(NewJob("enhancement", is_sync=True))
    store.set_draining(True)
    taken = store.claim("w", KINDS)
    assert taken is not None
    assert taken.id == sync.id
    assert store.claim("w", KINDS) is None
    store.set_draining(False)
    assert store.claim("w", KINDS) is not None
    assert store.delete_sync() == [sync.id]


def test_two_workers_never_get_the_same_job(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite3"
    with JobStore(path) as store:
        made = {store.create(NewJob("enhancement")).id for _ in range(40)}
    taken: list[str] = []

    def work(name: str) -> None:
        with JobStore(path) as own:
            while (job := own.claim(name, KINDS)) is not None:
                taken.append(job.id)
                own.succeed(job.id, name, {}, {})

    threads = [threading.Thread(target=work, args=[f"w{n}"]) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 40
    assert set(taken) == made


def test_models_workers_and_measures(store: JobStore, clock: Clock) -> None:
    store.set_model_status("m", "loading", "weights")
    store.want_model("m", True)
    store.want_model("n", False)
    assert store.model_statuses()["m"].status == "loading"
    assert store.model_statuses()["n"].status == "available"
    assert store.wanted_models() == {"m": True, "n": False}
    store.worker_state("w", "ready", 7)
    clock.now_s += 1000
    store.worker_state("v", "starting", 8)
    assert [each.worker_id for each in store.worker_states()] == ["v"]
    store.forget_worker("v")
    store.forget_models()
    assert (store.worker_states(), store.model_statuses()) == ([], {})
    store.observe([Observation("avse_rtf", 2.0, {}), Observation("x", 1.0, {"a": "b"})])
    assert [each.name for each in store.take_observations()] == ["avse_rtf", "x"]
    assert store.take_observations() == []


def test_what_is_written_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite3"
    crashed = JobStore(path)
    job = crashed.create(NewJob("enhancement", {"mode": "auto"}))  # never closed
    with JobStore(path) as store:
        assert store.get(job.id) == job
    crashed.close()


def test_versions_grow_with_every_change(store: JobStore) -> None:
    job = store.create(NewJob("enhancement"))
    store.claim("w", KINDS)
    store.set_progress(job.id, "w", "probe", 0.1)
    assert store.versions([job.id, "none"]) == {job.id: 3}
    assert store.recent_run_s("enhancement") is None
