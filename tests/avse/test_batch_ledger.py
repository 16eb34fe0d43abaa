"""What is finished, what failed, who is at it: it survives, and nothing is believed blindly."""

import os
import sqlite3
from pathlib import Path

import pytest

from avse.batch.errors import LedgerInvalid
from avse.batch.ledger import Ledger
from avse.batch.runs import CORNER, Run
from avse.batch.work import Failure, Written, file_sha256, stamp_of
from tests.avse.batch_parts import work

ALIVE = lambda run: True  # noqa: E731
DEAD = lambda run: False  # noqa: E731


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in.wav"
    path.write_bytes(b"sound")
    return path


def opened(tmp_path: Path, **more) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite", tmp_path, **more)


def reserved(ledger: Ledger, *works) -> None:
    with ledger.transaction():
        for each in works:
            ledger.reserve(each.output, each.source, is_for_all=False)


def finished(ledger: Ledger, each, tmp_path: Path) -> None:
    (tmp_path / each.output).write_bytes(b"voice")
    digest = file_sha256(each.source)
    ledger.remember(each.source, stamp_of(each.source), digest)
    ledger.finish(each, digest, [Written(each.output, 5)], "{}", 1.0)


def test_finished_work_is_done_until_something_changes(tmp_path, source) -> None:
    ledger, clip = opened(tmp_path), work(source)
    reserved(ledger, clip)
    assert ledger.standing(clip).state == "todo"
    finished(ledger, clip, tmp_path)
    ledger.close()
    ledger = opened(tmp_path)
    assert ledger.standing(clip).state == "done"
    assert ledger.standing(work(source, strength=0.5)).state == "todo"
    (tmp_path / clip.output).write_bytes(b"cut")
    assert ledger.standing(clip).state == "todo"
    (tmp_path / clip.output).unlink()
    assert ledger.standing(clip).state == "todo"


def test_a_touched_input_is_settled_if_its_bytes_are_the_same(tmp_path, source) -> None:
    ledger, clip = opened(tmp_path), work(source)
    reserved(ledger, clip)
    finished(ledger, clip, tmp_path)
    os.utime(source, (1, 1))
    standing = ledger.standing(clip)
    assert (standing.state, standing.settled_as) == ("todo", "done")
    assert standing.settled_sha256 == file_sha256(source)
    source.unlink()
    assert ledger.standing(clip).state == "todo"


def test_failures_stay_unless_they_may_pass(tmp_path, source) -> None:
    ledger, clip = opened(tmp_path), work(source)
    reserved(ledger, clip)
    digest = file_sha256(source)
    ledger.remember(source, stamp_of(source), digest)
    ledger.fail(clip, digest, Failure("no_audio", "no sound"))
    assert ledger.standing(clip).state == "failed"
    assert opened(tmp_path, retries_failed=True).standing(clip).state == "todo"
    ledger.fail(clip, digest, Failure("output_error", "the disk is full"))
    assert ledger.standing(clip).state == "todo"
    (line,) = ledger.failures()
    assert (line.input, line.code, line.n_tries) == (str(source), "output_error", 2)
    finished(ledger, clip, tmp_path)
    assert ledger.failures() == []


def test_a_claim_holds_while_its_run_lives(tmp_path, source) -> None:
    first, second, clip = opened(tmp_path), opened(tmp_path), work(source)
    reserved(first, clip)
    assert first.claim(clip, "one", ALIVE).state == "todo"
    assert second.claim(clip, "two", ALIVE).state == "held"
    assert second.claim(clip, "two", DEAD).state == "todo"
    assert first.claim(clip, "one", ALIVE).state == "held"
    second.release("two")
    assert first.claim(clip, "one", ALIVE).state == "todo"
    finished(first, clip, tmp_path)
    assert second.claim(clip, "two", ALIVE).state == "done"


def test_a_result_that_lost_files_names_them(tmp_path, source) -> None:
    ledger, clip = opened(tmp_path), work(source)
    reserved(ledger, clip)
    ledger.finish(clip, "0", [Written("a.1.wav", 1), Written("a.2.wav", 1)], "{}", 1.0)
    assert ledger.finish(clip, "0", [Written("a.2.wav", 1)], "{}", 1.0) == ["a.1.wav"]


@pytest.mark.parametrize("is_other_version", [True, False])
def test_what_is_no_ledger_is_refused(tmp_path, is_other_version) -> None:
    path = tmp_path / "ledger.sqlite"
    if is_other_version:
        database = sqlite3.connect(path)
        database.execute("PRAGMA user_version=99")
        database.close()
    else:
        path.write_bytes(b"something else entirely, long enough" * 100)
    with pytest.raises(LedgerInvalid, match=r"ledger\.sqlite: expected"):
        opened(tmp_path)


def test_a_run_is_known_to_be_alive_by_its_lock(tmp_path) -> None:
    run, other = Run(tmp_path), Run(tmp_path)
    released: list[str] = []
    other.bury_dead(released.append)
    assert released == []
    assert other.is_alive(run.id)
    (run.folder / "half.wav").touch()
    os.close(run._lock)  # as the kernel does when a run is killed
    assert not other.is_alive(run.id)
    other.bury_dead(released.append)
    assert released == [run.id]
    other.close()
    assert not other.is_alive("never")
    assert list((tmp_path / CORNER).iterdir()) == []
