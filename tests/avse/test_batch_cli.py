"""`avse batch` as it is typed: what it says, what it shows, how it ends."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from avse.batch.ledger import Ledger
from avse.batch.run import BatchResult, Planned
from avse.batch.tally import Tally
from avse.cli import run
from avse.commands.batch_display import BatchDisplay, described
from tests.avse.batch_parts import make_clips, work


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """`run_batch` and `plan_batch` that only remember their options."""
    seen = SimpleNamespace(options=None, lines=None, result=BatchResult(Tally(1, n_done=1)))

    def remember(options, on_change=None, *, lines=()):
        seen.options, seen.lines = options, lines
        if on_change is not None:
            on_change(seen.result.tally)
        return seen.result

    monkeypatch.setattr("avse.batch.run.run_batch", remember)
    monkeypatch.setattr("avse.batch.run.plan_batch", remember)
    monkeypatch.chdir(tmp_path)
    return seen


def test_options_reach_the_batch(fake, capsys) -> None:
    line = (
        "batch in *.mp4 -o out -f mp4 --flatten --face all --mode av --strength 0.5 --rate input "
        "--bundle b --device cpu --workers 3 --limit 7 --retry-failed"
    )
    assert run(line.split()) == 0
    options = fake.options
    assert (options.sources, options.out_dir) == (("in", "*.mp4"), Path("out"))
    assert (options.suffix, options.is_flat, options.bundle) == (".mp4", True, "b")
    assert (options.n_workers, options.limit, options.retries_failed) == (3, 7, True)
    chosen = options.options
    assert (chosen.face, chosen.mode, chosen.strength) == ("all", "av", 0.5)
    assert chosen.output_rate == "input"
    assert capsys.readouterr().out.startswith("out\t1 done, 0.00 h of sound")


@pytest.mark.parametrize(
    ("result", "exit_code", "words"),
    [
        (BatchResult(Tally(5, n_skipped=5)), 0, "0 done, 5 finished before"),
        (BatchResult(Tally(5, n_done=4, n_failed=1)), 3, "1 failed"),
        (BatchResult(Tally(5, n_skipped=4, n_failed_before=1)), 3, "1 failed before (--retry"),
        (BatchResult(Tally(5, n_done=2), is_interrupted=True), 130, "3 left"),
        (BatchResult(Tally(1), failures=Path("out/failures.jsonl")), 0, "see out/failures.jsonl"),
    ],
)
def test_the_end_is_one_line_and_a_code(fake, capsys, result, exit_code, words) -> None:
    fake.result = result
    assert run(["batch", "in", "-o", "out"]) == exit_code
    said = capsys.readouterr().out
    assert words in said
    assert said.count("\n") == 1


def test_a_trial_run_lists_what_would_be_done(fake, capsys) -> None:
    planned = tuple(
        Planned(state, work(Path(f"/in/{state}{index}.mp4")))
        for index, state in enumerate(["todo", "done", "todo"])
    )
    fake.result = BatchResult(Tally(3), planned=planned, notes=("list.csv: not used: speaker",))
    assert run(["batch", "in", "-o", "out", "--dry-run", "--limit", "1"]) == 0
    captured = capsys.readouterr()
    states = [line.split("\t")[0] for line in captured.out.splitlines()]
    assert states == ["todo", "done", "later"]
    assert captured.out.startswith("todo\t/in/todo0.mp4\ta.wav\n")
    assert captured.err == "avse: list.csv: not used: speaker\n"


@pytest.mark.parametrize(
    ("line", "exit_code", "words"),
    [
        ("batch", 2, "Missing argument"),
        ("batch in", 2, "--out"),
        ("batch nowhere -o out", 2, "nowhere: expected a file, a folder"),
        ("batch in -o in", 2, "another folder than the output"),
        ("batch in -o out --face nobody", 2, "face: expected auto"),
        ("batch in -o out -f txt", 2, "--format"),
        ("batch in -o out --bundle nothing", 3, "bundle 'nothing'"),
        ("batch in -o broken", 3, "expected the record of a batch"),
    ],
)
def test_wrong_usage_is_one_line(tmp_path, monkeypatch, capsys, line, exit_code, words) -> None:
    monkeypatch.chdir(tmp_path)
    make_clips(tmp_path / "in", "a.wav")
    ledger = tmp_path / "broken/.avse-batch/ledger.sqlite"
    ledger.parent.mkdir(parents=True)
    ledger.write_bytes(b"no database at all, and long enough to be one " * 100)
    assert run(line.split()) == exit_code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("avse: ")
    assert captured.err.count("\n") == 1
    assert words in captured.err


def test_counts_are_told_with_speed_and_time_left() -> None:
    tally = Tally(100, n_done=10, n_failed=2, audio_s=3600.0, bytes_total=100, bytes_ended=10)
    tally.start_s -= 400.0
    assert described(tally) == "1.00 h of sound, 9.0 x real time, 1:00:00 left, 2 failed"
    assert "? left" in described(Tally(3, n_failed=1, bytes_total=10**9, bytes_ended=6))


def test_a_terminal_gets_one_live_line() -> None:
    text = io.StringIO()
    with BatchDisplay(Console(file=text, force_terminal=True, width=100)) as display:
        display(Tally(5, n_done=2))
    assert "2 of 5 clips" in text.getvalue()


def test_anything_else_gets_plain_lines_now_and_then(monkeypatch) -> None:
    text = io.StringIO()
    with BatchDisplay(Console(file=text, width=40)) as display:
        display(Tally(5, n_done=1))
        assert text.getvalue() == ""
        monkeypatch.setattr("avse.commands.batch_display.PLAIN_EVERY_S", 0.0)
        display(Tally(5, n_done=2))
    assert text.getvalue() == (
        "avse: 2 of 5 clips, 0.00 h of sound, 0.0 x real time, ? left, 0 failed\n"
    )


def test_a_ledger_is_copied_for_a_trial_run(tmp_path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path, tmp_path).close()
    before = path.read_bytes()
    trial = Ledger(path, tmp_path, is_trial=True)
    with trial.transaction():
        trial.reserve("a.wav", tmp_path / "a.mp4", is_for_all=False)
    assert trial.owner("a.wav") == str(tmp_path / "a.mp4")
    trial.close()
    assert path.read_bytes() == before
