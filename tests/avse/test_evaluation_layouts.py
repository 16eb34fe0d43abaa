"""Test sets read as they are handed out, and mixtures with noises from a folder."""

import csv
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from avse.cli import run
from avse.evaluation import EvaluateOptions, MixtureSpec, plan_mixtures, run_evaluation
from avse.evaluation.errors import EvaluationError, InvalidOptions
from avse.evaluation.layouts import plan_layout
from avse.evaluation.mixtures import Corpus
from preprocessing.media import read_audio
from preprocessing.media_write import write_audio
from preprocessing.types import Waveform
from tests.avse.test_evaluation_metrics import speech_like

FAST = ("stoi", "si_sdr_db")


def sound(path: Path, seed: int = 1, duration_s: float = 1.2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_audio(path, Waveform(speech_like(seed, duration_s).astype(np.float32), 16_000))
    return path


def test_voicebank_demand(tmp_path: Path) -> None:
    for name in ("p226_001", "p226_002"):
        sound(tmp_path / f"clean_testset_wav/{name}.wav")
        sound(tmp_path / f"noisy_testset_wav/{name}.wav", 2)
    sound(tmp_path / "clean_testset_wav/p232_003.wav")
    plans = plan_layout(tmp_path)
    assert [plan.facts.speaker for plan in plans] == ["p226", "p226", "p232"]
    assert plans[0].render(read_audio).noisy is not None
    with pytest.raises(EvaluationError, match="missing in the folder of: noisy"):
        plans[2].render(read_audio)
    sound(tmp_path / "done/p226_001.wav", 3)
    with_estimates = plan_layout(tmp_path, tmp_path / "done")
    assert list(with_estimates[0].render(read_audio).estimates) == ["estimate"]
    with pytest.raises(EvaluationError, match="folder of: estimate"):
        with_estimates[1].render(read_audio)


def test_a_manifest_with_what_is_known(tmp_path: Path, caplog) -> None:
    sound(tmp_path / "a.wav")
    sound(tmp_path / "b.wav", 2)
    (tmp_path / "list.csv").write_text(
        "clean,mixture,speaker,snr,talkers,noise,mood\na.wav,b.wav,ann,-2.5,3,rain,glad\n"
        "a.wav,gone.wav,,,,,\n"
    )
    with caplog.at_level(logging.WARNING):
        first, second = plan_layout(tmp_path / "list.csv")
    assert "not used: mood" in caplog.text
    facts = first.facts
    assert (facts.speaker, facts.snr_db, facts.n_talkers, facts.noise_class) == (
        "ann", -2.5, 3, "rain",
    )  # fmt: skip
    with pytest.raises(EvaluationError, match="missing: noisy"):
        second.render(read_audio)
    row = {"reference": "a.wav", "estimate": "b.wav", "name": "one", "split": "test"}
    (tmp_path / "list.jsonl").write_text(json.dumps(row) + "\n")
    (only,) = plan_layout(tmp_path / "list.jsonl")
    assert (only.facts.clip, only.facts.split) == ("one", "test")
    assert only.render(read_audio).noisy is None


def test_scenes_of_the_avse_challenge(tmp_path: Path) -> None:
    scenes = [
        {"scene": "S00001", "dataset": "dev", "target": {"name": "yJX1_080"}, "SNR": -5.0,
         "interferer": {"name": "CIN_dishwasher_012", "type": "noise"}},
        {"scene": "S00002", "dataset": "dev", "target": {"name": "abc_001"}, "SNR": 2.0,
         "interferers": [{"name": "x", "type": "speech"}, {"name": "m_1", "type": "music"}]},
        {"scene": "S00003", "dataset": "dev", "target": {"name": "abc_002"}},
    ]  # fmt: skip
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata/scenes.dev.json").write_text(json.dumps(scenes))
    for number, ending in ((1, "mixed"), (2, "mono_mix")):
        sound(tmp_path / f"dev/scenes/S0000{number}_target.wav")
        sound(tmp_path / f"dev/scenes/S0000{number}_{ending}.wav", 2)
    first, second, third = plan_layout(tmp_path)
    assert (first.facts.speaker, first.facts.snr_db, first.facts.split) == ("yJX1", -5.0, "dev")
    assert (first.facts.noise_class, first.facts.n_talkers) == ("CIN_dishwasher", 1)
    assert (second.facts.noise_class, second.facts.n_talkers) == ("m", 2)
    assert second.render(read_audio).noisy is not None
    with pytest.raises(EvaluationError, match="missing: noisy"):
        third.render(read_audio)


def test_lists_of_mixtures(tmp_path: Path) -> None:
    root = tmp_path / "audio_mixture/2_mix"
    line = "test,main,ann,1/a,0,main,bob,2/b,6.0,1.0"
    root.mkdir(parents=True)
    (root / "mixture_data_list_2mix.csv").write_text(f"{line}\n{line.replace('ann', 'cid')}\n")
    sound(root / "test" / (line.replace(",", "_").replace("/", "_") + ".wav"), 2, 1.0)
    clean = sound(tmp_path / "audio_clean/main/ann/1/a.wav", 1, 1.2)
    first, second = plan_layout(root)
    facts = first.facts
    assert (facts.speaker, facts.snr_db, facts.n_talkers, facts.split) == ("ann", -6.0, 2, "test")
    trial = first.render(read_audio)
    assert trial.clean.n_samples == 16_000
    np.testing.assert_array_equal(trial.clean.samples, read_audio(clean).samples[:16_000])
    with pytest.raises(EvaluationError, match="missing: noisy"):
        second.render(read_audio)
    done = sound(tmp_path / "done" / f"{facts.clip}.wav", 3, 1.0)
    assert list(plan_layout(root, done.parent)[0].render(read_audio).estimates) == ["estimate"]


def test_lists_of_lrs_mixtures_in_json(tmp_path: Path) -> None:
    sound(tmp_path / "mix/1.wav")
    sound(tmp_path / "s1/1.wav", 2)
    (tmp_path / "tt.json").write_text(json.dumps([["mix/1.wav", "s1/1.wav", "mouth.npz", 19200]]))
    (plan,) = plan_layout(tmp_path / "tt.json")
    assert (plan.facts.clip, plan.facts.split) == ("s1/1", "tt")
    assert plan.render(read_audio).noisy is not None


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.csv", "reference,noisy\n,b.wav\n", "row 1: expected reference and noisy"),
        ("x.csv", "reference,noisy,snr\na.wav,b.wav,loud\n", "snr, talkers: expected numbers"),
        ("x.jsonl", "[1\n", "expected a readable manifest"),
        ("x.json", "{", "expected JSON"),
        ("x.json", "[1]", "expected scenes or"),
        ("x.json", "[]", "expected pairs, found none"),
        ("x.txt", "", "expected a folder, .csv"),
        ("mixture_data_list_2mix.csv", "test,a,b\n", "line 1: expected 4 fields a voice"),
    ],
)
def test_what_is_no_test_set_is_refused(tmp_path: Path, name, text, words) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InvalidOptions, match=words):
        plan_layout(tmp_path / name)


def test_a_folder_without_a_known_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidOptions, match="expected clean/ and noisy/"):
        plan_layout(tmp_path)


def test_pairs_are_evaluated_and_none_is_lost(tmp_path: Path) -> None:
    sound(tmp_path / "set/clean/a_1.wav")
    sound(tmp_path / "set/noisy/a_1.wav", 2)
    sound(tmp_path / "set/noisy/b_1.wav", 2)
    options = EvaluateOptions(tmp_path / "out", pairs=tmp_path / "set", metrics=FAST, n_workers=1)
    found = run_evaluation(options)
    assert [row.reason != "" for row in found.rows] == [False, True]
    assert "splits" not in found.facts
    with pytest.raises(InvalidOptions, match="expected either a data folder"):
        EvaluateOptions(tmp_path, pairs=tmp_path, data_dir=tmp_path)


def test_noises_may_come_from_a_folder(tmp_path: Path) -> None:
    rows = [["path", "speaker", "gender", "split", "language"]]
    for index, name in enumerate(("ann", "bob")):
        sound(tmp_path / f"av/news/{name}/0.wav", index)
        rows.append([f"av/news/{name}/0.wav", name, "f", "test", "en"])
    with (tmp_path / "av.csv").open("w", newline="") as lines:
        csv.writer(lines).writerows(rows)
    sound(tmp_path / "noises/rain/1.wav", 7)
    spec = MixtureSpec("own", 2, (0.0, 0.0), str(tmp_path / "noises"))
    plans = plan_mixtures(Corpus.read(tmp_path), spec)
    assert {plan.facts.noise_class for plan in plans} == {"rain"}
    assert plans[0].render(read_audio).noisy is not None
    empty = MixtureSpec("own", 2, (0.0, 0.0), str(tmp_path / "nothing"))
    with pytest.raises(InvalidOptions, match="expected a folder of sounds"):
        plan_mixtures(Corpus.read(tmp_path), empty)


def test_the_command_takes_pairs(tmp_path: Path, capsys, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr("avse.commands.evaluate._evaluate", seen.append)
    assert run(["evaluate", "--pairs", str(tmp_path), "-o", str(tmp_path / "out")]) == 0
    assert seen[0].pairs == tmp_path
    assert run(["evaluate", "--mix", str(tmp_path), "--talkers", "3", "--snr", "2.5:17.5"]) == 0
    assert (seen[1].data_dir, seen[1].snr_db) == (tmp_path, (2.5, 17.5))
