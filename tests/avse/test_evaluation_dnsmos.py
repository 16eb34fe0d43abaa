"""DNSMOS where its package is there, and words where it is not."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from avse.cli import run
from avse.evaluation import EvaluateOptions, run_evaluation, score
from avse.evaluation.dnsmos import DNSMOS, dnsmos
from avse.evaluation.errors import InvalidOptions
from preprocessing.media_write import write_audio
from preprocessing.types import Waveform
from tests.avse.test_evaluation_metrics import speech_like


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """A package that finds every sound as good as it is loud; remembers what it was given."""
    heard: list[np.ndarray] = []

    def guess(sample: np.ndarray, sr: int) -> dict[str, float]:
        assert sr == 16_000
        heard.append(sample)
        level = float(np.abs(sample).max())
        return {"ovrl_mos": level, "sig_mos": 2 * level, "bak_mos": 3 * level, "p808_mos": 0.0}

    inner = ModuleType("speechmos.dnsmos")
    inner.run = guess  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "speechmos", ModuleType("speechmos"))
    monkeypatch.setitem(sys.modules, "speechmos.dnsmos", inner)
    for module in ("dnsmos", "metrics", "evaluate"):
        monkeypatch.setattr(f"avse.evaluation.{module}.is_installed", lambda: True)
    return heard


def test_one_call_gives_all_three(package) -> None:
    clean = speech_like(1, 1.0)
    found = score(clean, 0.5 * clean / np.abs(clean).max(), metrics=DNSMOS)
    assert [found[name] for name in DNSMOS] == pytest.approx([0.5, 1.0, 1.5])
    assert len(package) == 1


def test_what_is_too_loud_is_turned_down(package) -> None:
    assert dnsmos(np.array([3.0, -1.5]), 16_000)["dnsmos_ovrl"] == 1.0
    with pytest.raises(ValueError, match="expected 16000 Hz"):
        dnsmos(np.ones(4), 8_000)


def test_silence_has_no_value(package) -> None:
    found = score(speech_like(1, 1.0), np.zeros(16_000), metrics=DNSMOS)
    assert found.reasons["dnsmos_ovrl"] == "the estimate is silent"
    assert package == []


def test_without_the_package_it_is_said(monkeypatch, tmp_path) -> None:
    for module in ("metrics", "evaluate"):
        monkeypatch.setattr(f"avse.evaluation.{module}.is_installed", lambda: False)
    found = score(speech_like(1, 1.0), speech_like(2, 1.0), metrics=DNSMOS)
    assert "extra dnsmos" in found.reasons["dnsmos_sig"]
    with pytest.raises(InvalidOptions, match="extra dnsmos"):
        EvaluateOptions(tmp_path, pairs=tmp_path, metrics=DNSMOS)


def test_tables_show_it_only_where_it_was_judged(package, tmp_path: Path) -> None:
    for kind, seed in (("clean", 1), ("noisy", 2)):
        (tmp_path / "set" / kind).mkdir(parents=True)
        sound = Waveform(speech_like(seed, 1.2).astype(np.float32), 16_000)
        write_audio(tmp_path / "set" / kind / "a_1.wav", sound)
    for metrics, is_shown in ((("stoi", *DNSMOS), True), (("stoi",), False)):
        options = EvaluateOptions(
            tmp_path / "out", pairs=tmp_path / "set", metrics=metrics, n_workers=1
        )
        files = run_evaluation(options).files
        for name in ("rows.csv", "results.json", "report.html", "summary.md"):
            assert ("dnsmos" in files[name].read_text().lower().replace("metrics", "")) == is_shown


def test_the_command_asks_for_it(package, tmp_path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr("avse.commands.evaluate._evaluate", seen.append)
    assert run(["evaluate", "--pairs", str(tmp_path), "--dnsmos"]) == 0
    assert set(DNSMOS) < set(seen[0].metrics)
