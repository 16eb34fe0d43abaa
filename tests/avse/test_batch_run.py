"""Whole batches: taken up again, killed, interrupted, two at once."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from avse.batch.errors import BatchStopped
from avse.batch.run import BatchOptions, plan_batch, run_batch
from avse.batch.runs import CORNER, LEDGER
from avse.errors import ConfigError
from avse.types import EnhanceOptions
from preprocessing.media import read_audio
from preprocessing.media_write import write_audio
from tests.avse.batch_parts import half_bundle, half_options, make_clips, noise, tree

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_clips(tmp_path / "in", "a/1.wav", "a/2.wav", "3.flac")
    (tmp_path / "in/b").mkdir()
    (tmp_path / "in/b/bad.mp4").write_text("no clip")
    return tmp_path


def counts(result) -> tuple[int, int, int, int]:
    tally = result.tally
    return tally.n_done, tally.n_skipped, tally.n_failed, tally.n_failed_before


def failures(out_dir: Path) -> list[dict]:
    return [json.loads(line) for line in (out_dir / "failures.jsonl").read_text().splitlines()]


def test_a_folder_is_enhanced_once(folder: Path) -> None:
    out_dir = folder / "out"
    first = run_batch(half_options(out_dir, folder / "in"))
    assert counts(first) == (3, 0, 1, 0)
    assert first.tally.audio_s == pytest.approx(0.9)
    assert sorted(tree(out_dir)) == ["3.wav", "a/1.wav", "a/2.wav", "failures.jsonl"]
    noisy = read_audio(folder / "in/a/1.wav").samples
    np.testing.assert_allclose(read_audio(out_dir / "a/1.wav").samples, noisy / 2, atol=1e-4)
    assert [(f["code"], f["n_tries"]) for f in failures(out_dir)] == [("undecodable", 1)]
    before = {path: path.stat().st_mtime_ns for path in out_dir.rglob("*.wav")}
    assert counts(run_batch(half_options(out_dir, folder / "in"))) == (0, 3, 0, 1)
    assert {path: path.stat().st_mtime_ns for path in out_dir.rglob("*.wav")} == before


def test_changed_work_is_done_again(folder: Path) -> None:
    out_dir = folder / "out"
    run_batch(half_options(out_dir, folder / "in"))
    write_audio(folder / "in/a/1.wav", noise(9))
    os.utime(folder / "in/a/2.wav", (1, 1))  # touched, not changed
    again = run_batch(half_options(out_dir, folder / "in"))
    assert counts(again) == (1, 2, 0, 1)
    soft = half_options(out_dir, folder / "in", options=EnhanceOptions(strength=0.5))
    assert counts(run_batch(soft)) == (3, 0, 1, 0)
    other = half_options(out_dir, folder / "in", bundle=half_bundle(0.3, "1" * 64))
    assert counts(run_batch(other)) == (3, 0, 1, 0)


def test_failures_are_tried_again_when_asked_or_mended(folder: Path) -> None:
    out_dir = folder / "out"
    run_batch(half_options(out_dir, folder / "in"))
    again = half_options(out_dir, folder / "in", retries_failed=True)
    assert counts(run_batch(again)) == (0, 3, 1, 0)
    assert failures(out_dir)[0]["n_tries"] == 2
    write_audio(folder / "mended.wav", noise(5))
    shutil.copy(folder / "mended.wav", folder / "in/b/bad.mp4")
    mended = run_batch(half_options(out_dir, folder / "in"))
    assert counts(mended) == (1, 3, 0, 0)
    assert mended.failures is None
    assert not (out_dir / "failures.jsonl").exists()


def test_a_limit_leaves_the_rest_for_next_time(folder: Path) -> None:
    options = half_options(folder / "out", folder / "in/a", folder / "in/3.flac", limit=2)
    first = run_batch(options)
    assert (first.tally.n_done, first.tally.n_left) == (2, 1)
    assert counts(run_batch(options)) == (1, 2, 0, 0)


def test_a_trial_run_writes_nothing(folder: Path) -> None:
    options = half_options(folder / "out", folder / "in")
    planned = plan_batch(options)
    assert [each.state for each in planned.planned] == ["todo"] * 4
    assert not (folder / "out").exists()
    run_batch(options)
    before = (folder / "out" / CORNER / LEDGER).read_bytes()
    states = {each.work.output: each.state for each in plan_batch(options).planned}
    assert states == {"3.wav": "done", "a/1.wav": "done", "a/2.wav": "done", "b/bad.wav": "failed"}
    assert (folder / "out" / CORNER / LEDGER).read_bytes() == before


def test_a_manifest_gives_clips_their_own_options(folder: Path) -> None:
    manifest = folder / "in/list.jsonl"
    manifest.write_text(
        '{"input": "a/1.wav", "strength": 0, "output": "same.flac"}\n{"input": "gone.wav"}\n'
    )
    assert counts(run_batch(half_options(folder / "out", manifest))) == (1, 0, 1, 0)
    noisy = read_audio(folder / "in/a/1.wav").samples
    np.testing.assert_allclose(read_audio(folder / "out/same.flac").samples, noisy, atol=1e-4)
    assert failures(folder / "out")[0]["code"] == "not_found"
    write_audio(folder / "in/gone.wav", noise(4))
    assert counts(run_batch(half_options(folder / "out", manifest))) == (1, 1, 0, 0)


def test_a_full_disk_stops_it_and_the_rest_is_done_later(folder: Path, monkeypatch) -> None:
    def write(*arguments):
        raise OSError(28, "no space left on device")

    options = half_options(folder / "out", folder / "in")
    with monkeypatch.context() as patched:
        patched.setattr("avse.batch.writing.write_result", write)
        with pytest.raises(BatchStopped, match="nothing more can be written"):
            run_batch(options)
    assert counts(run_batch(options))[0] == 3


def test_a_record_that_cannot_be_written_stops_it(folder: Path, monkeypatch) -> None:
    def fail(self, *arguments, **more):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patched:
        patched.setattr("avse.batch.ledger.Ledger.finish", fail)
        with pytest.raises(BatchStopped, match="database or disk is full"):
            run_batch(half_options(folder / "out", folder / "in/a"))
    assert counts(run_batch(half_options(folder / "out", folder / "in/a"))) == (2, 0, 0, 0)


def test_ctrl_c_stops_it_cleanly(folder: Path) -> None:
    make_clips(folder / "in", *(f"many/{i}.wav" for i in range(30)))
    options = half_options(folder / "out", folder / "in/many")

    sent: list[int] = []

    def interrupt(tally) -> None:
        if tally.n_done >= 3 and not sent:
            sent.append(signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    result = run_batch(options, interrupt)
    assert result.is_interrupted
    assert signal.getsignal(signal.SIGINT) is before
    n_done = result.tally.n_done
    assert 3 <= n_done < 30
    assert [path.name for path in (folder / "out" / CORNER).iterdir()] == [LEDGER]
    assert len(tree(folder / "out")) >= n_done  # one may have been put in place at the very end
    assert run_batch(options).tally.n_done == 30 - n_done


def test_two_runs_share_the_work(folder: Path) -> None:
    make_clips(folder / "in", *(f"many/{i}.wav" for i in range(24)))
    options = half_options(folder / "out", folder / "in/many")
    results = []
    runs = [threading.Thread(target=lambda: results.append(run_batch(options))) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(TIMEOUT_S)
    assert sorted(result.tally.n_ended for result in results) == [24, 24]
    assert sum(result.tally.n_done for result in results) == 24
    run_batch(half_options(folder / "alone", folder / "in/many"))
    assert tree(folder / "out") == tree(folder / "alone")


def started(folder: Path, out_dir: Path, log: Path) -> subprocess.Popen:
    """A batch of its own process, as a user runs it."""
    arguments = ["batch", str(folder), "-o", str(out_dir), "--workers", "2", "--mode", "audio_only"]
    with log.open("w") as text:
        return subprocess.Popen(
            [sys.executable, "-m", "avse", *arguments], cwd=ROOT, stdout=text, stderr=text
        )


def test_killed_at_any_moment_it_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    make_clips(tmp_path / "in", *(f"{i}.wav" for i in range(40)))
    out_dir, log = tmp_path / "out", tmp_path / "log.txt"
    for n_wanted in (1, 20):
        run = started(tmp_path / "in", out_dir, log)
        give_up_s = time.monotonic() + TIMEOUT_S
        while len(list(out_dir.glob("*.wav"))) < n_wanted and run.poll() is None:
            assert time.monotonic() < give_up_s
            time.sleep(0.02)
        run.kill()
        run.wait()
    last = started(tmp_path / "in", out_dir, log)
    assert last.wait(TIMEOUT_S) == 0, log.read_text()
    assert "finished before" in log.read_text()
    assert [path.name for path in (out_dir / CORNER).iterdir()] == [LEDGER]
    alone = BatchOptions(
        (str(tmp_path / "in"),), tmp_path / "alone", options=EnhanceOptions(mode="audio_only")
    )
    assert run_batch(alone).tally.n_done == 40
    assert tree(out_dir) == tree(tmp_path / "alone")


def test_options_are_checked(tmp_path: Path) -> None:
    for wrong in ({"suffix": ".txt"}, {"n_workers": -1}, {"limit": 0}):
        with pytest.raises(ConfigError):
            half_options(tmp_path, tmp_path, **wrong)
