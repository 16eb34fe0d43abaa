"""Decode children for real: results, limits, and every way to end them."""

import os
import signal
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from preprocessing.media_limits import MediaLimits
from preprocessing.types import Progress, no_progress
from server.child_channel import ChannelAbused, ChildChannel, read_messages
from server.decode_pool import DecodePool, PoolConfig, pool_config
from server.failures import JobCanceled, JobFailed
from server.prepared_file import PREPARED, read_prepared
from server.sandbox import ChildLimits
from server.settings import Settings
from tests.media_factory import ClipSpec, make_clip
from tests.server.worker_parts import TIMEOUT_S

CONFIG = PoolConfig(n_children=2, limits=ChildLimits(), start_timeout_s=TIMEOUT_S)


class TendedPool:
    """A pool and the thread that keeps its zygote alive."""

    def __init__(self, config: PoolConfig) -> None:
        self.pool = DecodePool(config)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tend)
        self._thread.start()

    def _tend(self) -> None:
        while not self._stop.wait(0.05):
            self.pool.tend()
        self.pool.close()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture(scope="module")
def tended() -> Iterator[DecodePool]:
    tended = TendedPool(CONFIG)
    yield tended.pool
    tended.close()


@pytest.fixture
def pool(tended: DecodePool) -> Iterator[DecodePool]:
    tended.exits.clear()
    config = tended._config
    yield tended
    tended._config = config


def prepare(
    pool: DecodePool,
    folder: Path,
    progress: Progress = no_progress,
    is_canceled: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    options = {"limits": asdict(MediaLimits())}
    return pool.run("prepare", folder, options, progress, is_canceled)


def endless(folder: Path) -> Path:
    """A sound of hours that takes no room: its reader is busy until it is stopped."""
    n_bytes = 3_000_000_000
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 96_000, 192_000, 2, 16)
    head = b"RIFF" + struct.pack("<I", n_bytes) + b"WAVE" + form
    (folder / "input").write_bytes(head + b"data" + struct.pack("<I", n_bytes))
    os.truncate(folder / "input", n_bytes)
    return folder


def child_of(pool: DecodePool) -> int:
    pid = pool.zygote_pid
    return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])


def once(action: Callable[[], object]) -> Progress:
    """Act on the first word of the child."""
    done: list[str] = []

    def on_progress(stage: str, fraction: float, total: float) -> None:
        if not done:
            done.append(stage)
            action()

    return on_progress


def test_a_clip_is_prepared_in_a_child(pool: DecodePool, tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4", ClipSpec()).rename(tmp_path / "input")
    stages: list[str] = []
    found = prepare(pool, tmp_path, lambda stage, done, total: stages.append(stage))
    clip = read_prepared(tmp_path / PREPARED, tmp_path / "input")
    assert clip.audio.duration_s == pytest.approx(1.6, abs=0.1)
    assert clip.n_video_frames == 40
    assert found["lead_samples"] == 0
    assert list(dict.fromkeys(stages)) == ["probe", "decode", "track"]
    assert pool.exits == {"done": 1}


def test_failures_have_codes_and_no_paths(pool: DecodePool, tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"#EXTM3U\nfile:///etc/passwd\n")
    with pytest.raises(JobFailed) as caught:
        prepare(pool, tmp_path)
    assert caught.value.failure.code in ("undecodable", "unsupported_container")
    assert str(tmp_path) not in caught.value.failure.detail
    assert pool.exits == {"failed": 1}


def test_a_killed_child_is_replaced_and_then_given_up(pool: DecodePool, tmp_path: Path) -> None:
    def kill(stage: str, done: float, total: float) -> None:
        if stage == "probe":
            os.kill(child_of(pool), signal.SIGKILL)

    with pytest.raises(JobFailed) as caught:
        prepare(pool, endless(tmp_path), kill)
    assert caught.value.failure.code == "worker_lost"
    assert pool.exits == {"killed": 3}


def test_a_task_outlives_its_zygote(pool: DecodePool, tmp_path: Path) -> None:
    endless(tmp_path)
    killed = []

    def kill_and_repair() -> None:
        assert pool.zygote_pid is not None
        killed.append(pool.zygote_pid)
        clip = make_clip(tmp_path / "clip.mp4", ClipSpec())
        os.kill(pool.zygote_pid, signal.SIGKILL)
        clip.replace(tmp_path / "input")  # in one step: its child may live a moment longer

    prepare(pool, tmp_path, once(kill_and_repair))
    assert pool.exits == {"killed": 1, "done": 1}
    assert pool.zygote_pid not in (*killed, None)


@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [
        (signal.SIGSEGV, "undecodable", "crashed"),
        (signal.SIGXCPU, "decode_timeout", "timeout"),
    ],
)
def test_a_dying_child_is_the_files_fault(
    pool: DecodePool, tmp_path: Path, number: int, code: str, reason: str
) -> None:
    with pytest.raises(JobFailed) as caught:
        prepare(pool, endless(tmp_path), once(lambda: os.kill(child_of(pool), number)))
    assert caught.value.failure.code == code
    assert pool.exits == {reason: 1}


def test_a_hung_child_is_stopped(pool: DecodePool, tmp_path: Path) -> None:
    pool._config = replace(pool._config, timeout_s=1.0)
    with pytest.raises(JobFailed) as caught:
        prepare(pool, endless(tmp_path), once(lambda: os.kill(child_of(pool), signal.SIGSTOP)))
    assert caught.value.failure.code == "decode_timeout"
    assert pool.exits == {"timeout": 1}


def test_a_canceled_task_is_stopped(pool: DecodePool, tmp_path: Path) -> None:
    canceled = threading.Event()
    with pytest.raises(JobCanceled):
        prepare(pool, endless(tmp_path), once(canceled.set), canceled.is_set)
    assert pool.exits == {"canceled": 1}


def test_who_waits_for_a_child_can_be_canceled(tmp_path: Path) -> None:
    pool = DecodePool(PoolConfig(n_children=1))
    with pool._slot(lambda: False), pytest.raises(JobCanceled):
        prepare(pool, tmp_path, is_canceled=lambda: True)
    with pytest.raises(JobCanceled):  # there is no zygote yet
        prepare(pool, tmp_path, is_canceled=lambda: True)
    pool._config = PoolConfig(start_timeout_s=0.0)
    with pytest.raises(JobFailed, match="does not start"):
        prepare(pool, tmp_path)
    pool.close()


def test_settings_become_limits(tmp_path: Path) -> None:
    config = pool_config(Settings(spool_dir=tmp_path, decode_children=3, decode_cpu_s=7))
    assert (config.n_children, config.limits.cpu_s) == (3, 7)


def test_the_channel_takes_messages_only() -> None:
    reading, writing = os.pipe()
    channel = ChildChannel(writing)
    channel.progress("track", 0, 10)
    channel.progress("track", 0.001, 10)
    channel.progress("infer", 20, 10)
    channel.progress("mux", 1, 0)
    messages = read_messages(reading, 0.01)
    assert [next(messages) for _ in range(4)] == [
        {"progress": ["track", 0.0]},
        {"progress": ["infer", 1.0]},
        {"progress": ["mux", 0.0]},
        None,
    ]
    for line in (b"[]\n", b"nonsense\n"):
        os.write(writing, line)
        with pytest.raises(ChannelAbused):
            next(read_messages(reading, 0.01))
    os.close(writing)
    assert list(read_messages(reading, 0.01)) == []
    os.close(reading)
