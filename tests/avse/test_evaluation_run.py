"""From options to a folder of results, with made sounds and small systems."""

import csv
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from avse.evaluation import EvaluateOptions, run_evaluation
from avse.evaluation.charts import gain_over_snr
from avse.evaluation.errors import InvalidOptions, SystemFailed
from avse.evaluation.lips import mouth_track
from avse.evaluation.metrics import Scores
from avse.evaluation.report import rich_table
from avse.evaluation.rows import Row
from avse.evaluation.significance import mean_of, paired
from avse.evaluation.summary import Line, summarise
from avse.evaluation.systems import CommandSystem
from avse.evaluation.trials import TrialFacts
from preprocessing.errors import OutputError
from preprocessing.media_write import write_audio
from preprocessing.types import MouthTrack, Waveform
from tests.avse.test_evaluation_metrics import speech_like

FAST = ("stoi", "si_sdr_db")
COPY = "import shutil, sys; shutil.copy(sys.argv[1], sys.argv[2])"


def write_sound(path: Path, samples: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, Waveform(samples.astype(np.float32), 16_000))


@pytest.fixture(scope="module")
def corpus_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    rows = [["path", "speaker", "gender", "split", "language"]]
    for index, name in enumerate(("ann", "bob", "cid")):
        path = f"av/news/{name}/0.wav"
        write_sound(root / path, speech_like(index + 1, 1.2))
        rows.append([path, name, "f" if index else "m", "test", "en"])
    with (root / "av.csv").open("w", newline="") as lines:
        csv.writer(lines).writerows(rows)
    return root


@dataclass(frozen=True)
class Fake:
    """Halves the sound where a mouth is shown; may fail or change the length."""

    name: str = "fake"
    sees: bool = True
    n_lost: int = 0
    fails: bool = False

    def enhance(self, noisy: Waveform, mouth: MouthTrack | None) -> Waveform:
        if self.fails:
            raise SystemFailed("fake: out of order")
        gain = 1.0 if mouth is None else 0.5
        kept = noisy.samples[: noisy.n_samples - self.n_lost]
        return Waveform((gain * kept).astype(np.float32), noisy.sample_rate_hz)


def crops_for(clip: str) -> MouthTrack | None:
    return None if "cid" in clip else mouth_track(np.zeros((30, 4, 4), np.uint8), np.ones(30, bool))


def by_cell(lines: tuple[Line, ...]) -> dict[tuple[str, str], Line]:
    return {(line.cell.system, line.cell.lips): line for line in lines}


def test_mixtures_times_systems_times_lips(corpus_dir: Path, tmp_path: Path) -> None:
    calls = []
    options = EvaluateOptions(
        tmp_path / "out",
        corpus_dir,
        conditions=("two_0db", "clean"),
        lips=("own", "same_person_other_clip"),
        metrics=FAST,
        n_workers=1,
    )
    systems = [
        Fake(),
        Fake("blind", sees=False),
        Fake("short", False, 1),
        Fake("bad", False, 0, True),
    ]
    found = run_evaluation(
        options, lambda *call: calls.append(call), systems=systems, crops_for=crops_for
    )
    assert calls[-1] == ("evaluate", 6, 6)
    lines = by_cell(tuple(x for x in found.summary.lines if x.cell.condition == "two_0db"))
    assert lines["mixture", ""].n_bad == 0
    assert lines["blind", ""].means["stoi_gain"].mean == 0
    assert lines["blind", ""].share_losing_stoi == 0
    assert lines["fake", "own"].n_bad == 1
    assert lines["fake", "own"].reasons == {"no mouth crops of CLIP": 1}
    assert lines["fake", "same_person_other_clip"].n_bad == 3
    assert lines["short", ""].n_bad == 3
    assert lines["bad", ""].reasons == {"fake: out of order": 3}
    assert len(found.rows) == 2 * 3 * 6
    mixed = [row.value("si_sdr_db") for row in found.rows if row.system == "mixture"]
    assert np.allclose([v for v in mixed[:3] if v is not None], 0, atol=0.8)


def test_the_folder_of_results(corpus_dir: Path, tmp_path: Path) -> None:
    options = EvaluateOptions(
        tmp_path, corpus_dir, talkers=2, snr_db=(0, 10), metrics=FAST, n_workers=2, limit=2
    )
    found = run_evaluation(options, systems=[Fake("a <b>", sees=False)])
    expected = {"rows.csv", "results.json", "summary.md", "report.html"}
    pictures = {"gain-over-snr-test.png", "before-after-test-talkers2_0:10db.png"}
    assert set(found.files) == expected | pictures
    with found.files["rows.csv"].open() as lines:
        rows = list(csv.DictReader(lines))
    assert [row["system"] for row in rows] == ["mixture", "a <b>"] * 2
    assert float(rows[1]["stoi_gain"]) == 0
    document = json.loads(found.files["results.json"].read_text())
    assert document["facts"]["seed"] == 0
    assert document["rows"][0]["pesq_wb"] is None
    page = found.files["report.html"].read_text()
    assert "a &lt;b&gt;" in page
    assert page.count("data:image/png;base64,") == 2
    assert 'src="http' not in page
    assert found.files["gain-over-snr-test.png"].read_bytes().startswith(b"\x89PNG")
    blind = [replace(row, lips="none") for row in found.rows]
    assert gain_over_snr(blind) not in {gain_over_snr(found.rows), gain_over_snr([])}
    assert rich_table(found.summary).row_count == 2
    assert "| test |" in found.files["summary.md"].read_text()


def test_pairs_from_folders(tmp_path: Path) -> None:
    for index in range(3):
        clean = speech_like(index, 1.2)
        write_sound(tmp_path / "clean" / f"p1_{index}.wav", clean)
        write_sound(tmp_path / "noisy" / f"p1_{index}.wav", clean + 0.02 * speech_like(9, 1.2))
        write_sound(tmp_path / "done" / f"p1_{index}.flac", clean[: len(clean) - 5 * (index == 1)])
    write_sound(tmp_path / "noisy" / "p2_9.wav", speech_like(1))
    options = EvaluateOptions(
        tmp_path / "out",
        reference=tmp_path / "clean",
        noisy=tmp_path / "noisy",
        estimate=tmp_path / "done",
        metrics=FAST,
        n_workers=1,
    )
    found = run_evaluation(options, systems=[])
    lines = by_cell(found.summary.lines)
    assert lines["mixture", ""].n_bad == 1
    assert "missing in the folder of: reference, estimate" in lines["mixture", ""].reasons
    assert lines["estimate", ""].n_bad == 1
    assert lines["estimate", ""].means["stoi_gain"].mean > 0
    assert any("lengths differ" in reason for reason in lines["estimate", ""].reasons)


def test_commands() -> None:
    noisy = Waveform(speech_like(1, 0.5), 16_000)
    system = CommandSystem.parse(f'copy="{sys.executable}" -c "{COPY}" {{in}} {{out}}')
    assert system.name == "copy"
    assert np.allclose(system.enhance(noisy, None).samples, noisy.samples, atol=1e-4)
    silent = CommandSystem.parse(f'"{sys.executable}" -c pass {{in}} {{out}}')
    with pytest.raises(SystemFailed, match="no output"):
        silent.enhance(noisy, None)
    broken = CommandSystem.parse(f'x="{sys.executable}" -c "raise SystemExit(4)" {{in}} {{out}}')
    with pytest.raises(SystemFailed, match="exit code 4"):
        broken.enhance(noisy, None)
    with pytest.raises(SystemFailed, match="such file"):
        CommandSystem.parse("no-such-program {in} {out}").enhance(noisy, None)
    with pytest.raises(InvalidOptions, match="compare"):
        CommandSystem.parse("program {in}")


def test_options_that_contradict(corpus_dir: Path, tmp_path: Path) -> None:
    for wrong in (
        {},
        {"data_dir": corpus_dir, "reference": tmp_path},
        {"data_dir": corpus_dir, "metrics": ("beauty",)},
        {"data_dir": corpus_dir, "lips": ()},
        {"data_dir": corpus_dir, "noise": "any"},
        {"data_dir": corpus_dir, "limit": 0},
    ):
        with pytest.raises(InvalidOptions):
            EvaluateOptions(tmp_path, **wrong)
    options = EvaluateOptions(tmp_path / "x", reference=tmp_path / "none", noisy=tmp_path)
    with pytest.raises(InvalidOptions, match="folder"):
        run_evaluation(options)
    with pytest.raises(InvalidOptions, match="--noisy"):
        run_evaluation(EvaluateOptions(tmp_path / "x", reference=tmp_path))
    options = EvaluateOptions(tmp_path / "x", corpus_dir, metrics=FAST)
    with pytest.raises(InvalidOptions, match="different names"):
        run_evaluation(options, systems=[Fake(), Fake()])
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        run_evaluation(EvaluateOptions(tmp_path / "file", corpus_dir, metrics=FAST), systems=[])


def test_intervals_and_tests() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(1.0, 1.0, 100).tolist()
    found = mean_of(values)
    assert found.low < found.mean < found.high
    assert found.high - found.low == pytest.approx(4 * 0.1, rel=0.3)
    assert mean_of([]).n == 0
    better = paired([v + 0.2 + 0.01 * i for i, v in enumerate(values)], values)
    assert better.is_clear
    assert better.p < 1e-6
    assert paired(values, values).p == 1.0
    assert not paired(values, values).is_clear
    with pytest.raises(ValueError, match="pairs"):
        paired([1.0], [])


def test_groups_are_in_order_and_pairs_without_lips_are_tested(tmp_path: Path) -> None:
    rows = []
    for index, snr_db in enumerate((-7.0, 2.0, 12.0, 6.0)):
        facts = TrialFacts(f"c{index}", "pairs", "pairs", n_talkers=3, snr_db=snr_db)
        before, after = Scores({"stoi": 0.5}), Scores({"stoi": 0.6 + index / 100})
        rows.append(Row(facts, "mixture", before=before, after=before))
        rows.append(Row(facts, "seeing", "none", before=before, after=after))
    summary = summarise(rows)
    values = [group.value for group in summary.groups if group.by == "SNR"]
    assert values == ["-10 to -5 dB", "0 to 5 dB", "5 to 10 dB", "10 to 15 dB"]
    assert [group.value for group in summary.groups if group.by == "talkers"] == ["3"]
    (test,) = [test for test in summary.tests if test.metric == "stoi"]
    assert (test.first.system, test.second.system) == ("seeing", "mixture")
    assert test.difference.delta.mean == pytest.approx(0.115)
