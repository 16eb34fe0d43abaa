"""The stages by themselves: reading processes, the network's groups, writing."""

import errno
import os
import queue
import signal
import time
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path

import numpy as np
import pytest

from avse.batch.errors import BatchStopped
from avse.batch.network import Enhanced, NetworkStage, Waiting
from avse.batch.readers import Readers
from avse.batch.reading import Reading, ReadTask, read, with_large_crops
from avse.batch.work import Failure, file_sha256, stamp_of
from avse.batch.writing import WritingStage
from avse.targets import Target
from preprocessing.errors import FaceNotFound, OutputError
from preprocessing.pipeline import PipelineConfig
from preprocessing.types import MouthTrack, PreparedClip
from tests.avse.batch_parts import make_clips, prepared, result, work

TIMEOUT_S = 60.0


def task(path: Path, number: int = 1, **more) -> ReadTask:
    given = {"known": None, "settled_sha256": None, "folder": path.parent} | more
    return ReadTask(number, path, PipelineConfig(ignores_video=True), **given)


def test_reading_hashes_and_prepares(tmp_path) -> None:
    (path,) = make_clips(tmp_path, "a.wav")
    reading = read(task(path))
    assert reading.input_sha256 == file_sha256(path)
    assert reading.prepared is not None
    assert reading.prepared.audio.duration_s == pytest.approx(0.3)


def test_a_known_hash_holds_only_for_its_stamp(tmp_path) -> None:
    (path,) = make_clips(tmp_path, "a.wav")
    known = (stamp_of(path), "known")
    assert read(task(path, known=known, settled_sha256="known")).is_settled
    os.utime(path, (1, 1))
    assert not read(task(path, known=known, settled_sha256="known")).is_settled
    assert read(task(path, settled_sha256=file_sha256(path))).is_settled


def test_what_cannot_be_read_says_why(tmp_path) -> None:
    (tmp_path / "a.mp4").write_text("no clip")
    failure = read(task(tmp_path / "a.mp4")).failure
    assert failure is not None
    assert failure.code == "undecodable"
    assert str(tmp_path) not in failure.reason
    assert read(task(tmp_path / "gone.mp4")).failure == Failure("not_found", "no such file")


def test_a_file_that_changes_while_it_is_read_is_not_believed(tmp_path, monkeypatch) -> None:
    (path,) = make_clips(tmp_path, "a.wav")

    def prepare(path, pipeline):
        os.utime(path, (1, 1))
        return prepared(path)

    monkeypatch.setattr("avse.batch.reading.prepare", prepare)
    failure = read(task(path)).failure
    assert failure is not None
    assert failure.code == "input_changed"


def test_large_crops_go_by_file(tmp_path, monkeypatch) -> None:
    (path,) = make_clips(tmp_path, "a.wav")
    crops = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)
    mouth = MouthTrack(crops, np.ones(3, bool), 0.0, np.zeros((3, 20, 2), np.float32))
    clip = PreparedClip(prepared(path).audio, (), {7: mouth}, prepared(path).source)
    monkeypatch.setattr("avse.batch.reading.prepare", lambda path, pipeline: clip)
    monkeypatch.setattr("avse.batch.reading.BYTES_IN_MESSAGE", 10)
    reading = read(task(path))
    assert reading.prepared is not None
    assert reading.prepared.mouths[7].crops.nbytes == 0
    found = with_large_crops(reading)
    assert found is not None
    np.testing.assert_array_equal(found.mouths[7].crops, crops)
    assert list(tmp_path.iterdir()) == [path]


def waited(readers: Readers, is_enough: Callable[[list[Reading]], bool]) -> list[Reading]:
    """Readings that come until it is enough."""
    never, _writing = Pipe(duplex=False)
    found: list[Reading] = []
    give_up_s = time.monotonic() + TIMEOUT_S
    while not is_enough(found):
        assert time.monotonic() < give_up_s
        found += readers.wait(0.1, never)
    return found


def killed(readers: Readers) -> list[Reading]:
    """Readings that come until another reader has taken the place of the killed one."""
    victim = readers.pids[0]
    os.kill(victim, signal.SIGKILL)
    return waited(readers, lambda found: readers.pids[0] != victim)


def test_a_killed_reader_is_replaced_and_its_clip_tried_again(tmp_path) -> None:
    (path,) = make_clips(tmp_path, "a.wav")
    trap = tmp_path / "trap.wav"
    os.mkfifo(trap)  # whoever opens it waits for ever
    readers = Readers(1)
    try:
        waited(readers, lambda found: readers.n_idle == 1)
        readers.give(task(trap, 1))
        assert killed(readers) == []
        waited(readers, lambda found: readers._readers[0].task is not None)
        (lost,) = killed(readers)
        assert lost.failure is not None
        assert lost.failure.code == "worker_lost"
        waited(readers, lambda found: readers.n_idle == 1)
        readers.give(task(path, 2))
        (reading,) = waited(readers, bool)
        assert reading.prepared is not None
    finally:
        readers.close()


def test_readers_that_never_start_stop_the_batch() -> None:
    readers = Readers(1, body=os._exit)  # type: ignore[arg-type]
    try:
        with pytest.raises(BatchStopped, match="do not start"):
            waited(readers, bool)
    finally:
        readers.close()


class FakeEnhancer:
    """Remembers who came together; fails for what is called bad."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def targets(self, clip, options):
        if clip.source.path.name.startswith("faceless"):
            raise FaceNotFound(clip.source.path, "a face", "none")
        return [Target(clip)] * (2 if options.face == "all" else 1)

    def enhance_targets(self, targets, options, progress):
        names = [target.prepared.source.path.name for target in targets]
        self.calls.append(names)
        if any(name.startswith("bad") for name in names):
            raise MemoryError
        progress("infer", 1, 1)
        return [result(index) for index, _ in enumerate(targets)]


@pytest.fixture
def stage():
    ended: queue.Queue[Enhanced] = queue.Queue()
    enhancer = FakeEnhancer()
    made = NetworkStage(enhancer, 64, 3, ended.put)
    yield made, enhancer, ended
    assert made.stop(TIMEOUT_S)


def put_at_once(stage: NetworkStage, *clips: tuple[str, float, dict]) -> None:
    with stage._changed:
        for number, (name, duration_s, options) in enumerate(clips):
            path = Path(name)
            stage._waiting.append(
                Waiting(number, work(path, **options), prepared(path, duration_s))
            )
        stage._changed.notify()


def test_clips_of_like_length_and_options_go_together(stage) -> None:
    made, enhancer, ended = stage
    put_at_once(made, ("short", 0.3, {}), ("long", 2.0, {}), ("longer", 3.0, {}),
                ("soft", 2.0, {"strength": 0.5}), ("both", 2.0, {"face": "all"}))  # fmt: skip
    found = {each.number: each for each in (ended.get(timeout=TIMEOUT_S) for _ in range(5))}
    assert enhancer.calls[0] == ["long", "longer"]
    assert sorted(enhancer.calls[1:]) == [["both", "both"], ["short"], ["soft"]]
    assert len(found[4].results) == 2


def test_a_batch_has_a_limit_and_nobody_waits_for_ever(stage) -> None:
    made, enhancer, ended = stage
    many = [(f"long{i}", 2.0, {}) for i in range(18)]
    put_at_once(made, ("short", 0.3, {}), *many)
    for _ in range(19):
        ended.get(timeout=TIMEOUT_S)
    assert max(map(len, enhancer.calls)) == 3
    assert enhancer.calls.index(["short"]) == 4


def test_a_bad_clip_harms_no_other(stage) -> None:
    made, _, ended = stage
    put_at_once(made, ("good", 2.0, {}), ("bad", 2.0, {}), ("faceless", 2.0, {}))
    found = {each.number: each for each in (ended.get(timeout=TIMEOUT_S) for _ in range(3))}
    assert len(found[0].results) == 1
    assert found[1].failure == Failure("no_memory", "not enough memory")
    assert found[2].failure == Failure("face_not_found", "expected a face, found none")


def ended_of(tmp_path: Path, enhanced: Enhanced):
    ended: queue.Queue = queue.Queue()
    (tmp_path / "run").mkdir(exist_ok=True)
    stage = WritingStage(tmp_path / "out", tmp_path / "run", ended.put)
    stage.put(enhanced)
    found = ended.get(timeout=TIMEOUT_S)
    assert stage.stop(TIMEOUT_S)
    assert list((tmp_path / "run").iterdir()) == []
    return found


def test_results_are_written_under_their_names(tmp_path) -> None:
    clip = work(tmp_path / "a.mp4", "deep/voice.flac", face="all")
    one = ended_of(tmp_path, Enhanced(1, clip, [result()]))
    assert [file.name for file in one.files] == ["deep/voice.flac"]
    two = ended_of(tmp_path, Enhanced(1, clip, [result(1), result(2)]))
    assert [file.name for file in two.files] == ["deep/voice.1.flac", "deep/voice.2.flac"]
    for file in two.files:
        assert (tmp_path / "out" / file.name).stat().st_size == file.n_bytes
    assert '"bundle": "half@0"' in two.report


def test_a_result_that_cannot_be_written_fails_alone(tmp_path) -> None:
    (tmp_path / "out").write_text("a file where a folder should be")
    ended = ended_of(tmp_path, Enhanced(1, work(tmp_path / "a.mp4"), [result()]))
    assert ended.failure.code == "output_error"
    assert ended.stopping is None
    lost = ended_of(tmp_path, Enhanced(1, work(tmp_path / "a.mp4"), failure=Failure("x", "y")))
    assert lost.failure == Failure("x", "y")


def test_a_full_disk_stops_the_batch(tmp_path, monkeypatch) -> None:
    def write(*arguments):
        cause = OSError(errno.ENOSPC, "no space left on device")
        raise OutputError("a.wav", "a file that can be written", "no space") from cause

    monkeypatch.setattr("avse.batch.writing.write_result", write)
    ended = ended_of(tmp_path, Enhanced(1, work(tmp_path / "a.mp4"), [result()]))
    assert "nothing more can be written" in str(ended.stopping)
