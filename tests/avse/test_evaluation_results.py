"""The page of results: goals judged from rows, curves from logs."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from avse.evaluation.errors import EvaluationError
from avse.evaluation.goals import Goal, Judged, goals, goals_table, table_3
from avse.evaluation.metrics import Scores
from avse.evaluation.rows import Row
from avse.evaluation.training_curves import run_titles, shown_figures, training_curves
from avse.evaluation.trials import TrialFacts


def rows(condition: str, split: str, gain: float, **more: str) -> list[Row]:
    """Ten clips that gain so much STOI (and ten times that in PESQ, a hundred times in dB)."""
    made = []
    for index in range(10):
        more_here = gain + 0.001 * (index - 4.5)
        facts = TrialFacts(f"clip{index}", condition, split, corpus=more.get("corpus", "news"))
        before = Scores({"stoi": 0.6, "pesq_wb": 1.5, "si_sdr_db": 0.0}, {})
        after = Scores(
            {
                "stoi": 0.6 + more_here,
                "pesq_wb": 1.5 + 10 * more_here,
                "si_sdr_db": 100 * more_here,
            },
            {},
        )
        system, lips = more.get("system", "main"), more.get("lips", "own")
        made.append(Row(facts, system, lips, before=before, after=after))
    return made


def answers(judged: Judged) -> dict[str, str]:
    return {f"{goal.name}|{goal.wanted}": goal.answer for goal in goals(judged)}


def test_nothing_measured_is_not_a_yes() -> None:
    found = goals(Judged((), "main"))
    assert found
    assert {goal.is_met for goal in found} == {None}
    assert all(line[-1] == "not measured" for line in goals_table(found)[1])


def test_gains_against_their_floors() -> None:
    two = rows("two_0db", "test", 0.15)
    found = answers(Judged(tuple(two), "main"))
    assert found["2 two talkers, 0 dB|stoi up by 0.2 or more"] == "no"
    assert found["2 two talkers, 0 dB|si_sdr_db up by 8 or more"] == "yes"
    other = answers(Judged(tuple(two), "another"))
    assert other["2 two talkers, 0 dB|stoi up by 0.2 or more"] == "not measured"


def test_never_worse_counts_every_condition_of_the_test_people() -> None:
    mixed = rows("two_0db", "test", 0.1) + rows("clean", "test", -0.05)
    far = rows("clean", "elsewhere", 0.39)
    goal = next(g for g in goals(Judged((*mixed, *far), "main")) if g.name == "5 never worse")
    assert goal.found.startswith("50.0% of 20")
    assert goal.is_met is False
    clean = next(g for g in goals(Judged((*mixed, *far), "main")) if "clean" in g.name)
    assert clean.is_met is True


def test_order_of_systems_needs_the_whole_interval() -> None:
    best = rows("three_paper", "test", 0.05)
    same = [replace(row, system="concat") for row in best]
    worse = rows("three_paper", "test", 0.02, system="audio", lips="")
    judged = Judged((*best, *same, *worse), "main", ("main", "concat", "audio"))
    found = answers(judged)
    assert found["1 main over concat, stoi|its whole interval above 0"] == "no"
    assert found["1 concat over audio, stoi|its whole interval above 0"] == "yes"
    cells = table_3(judged, {"main": "mmtm", "concat": "concat", "audio": "audio_only"})[1]
    assert cells[1][-2:] == ["2.73", "0.941"]
    assert cells[3][2:4] == ["1.70", "0.620"]


def test_disturbed_sight_is_held_against_none_on_the_same_clips() -> None:
    blind = rows("two_0db", "test", 0.05, lips="none")
    late = rows("two_0db", "test", 0.01, lips="late:2")[:5]
    hidden = rows("two_0db", "test", 0.08, lips="hidden:0.5")[:5]
    found = {goal.name: goal for goal in goals(Judged((*blind, *late, *hidden), "main"))}
    assert found["7 late:2"].is_met is False
    assert found["7 hidden:0.5"].is_met is True
    assert "+0.047" in found["7 late:2"].wanted  # of the five clips


def test_every_corpus_elsewhere_and_silence() -> None:
    far = rows("two_0db", "elsewhere", 0.1) + rows("two_0db", "elsewhere", -0.1, corpus="lab")
    found = goals(Judged(tuple(far), "main", silence_db=(-30.0, -25.0)))
    by_name: dict[str, Goal] = {goal.name: goal for goal in found}
    assert by_name["6 elsewhere, news"].is_met is True
    assert by_name["6 elsewhere, lab"].is_met is False
    assert by_name["5 silent target"].is_met is True


def test_runs_of_one_name_are_told_apart_by_their_folders() -> None:
    runs = [Path("a/avse-mmtm"), Path("b/avse-mmtm"), Path("b/avse-audio")]
    assert run_titles(runs) == ["a/avse-mmtm", "b/avse-mmtm", "avse-audio"]


@pytest.mark.parametrize("learnt", ["snr", "snr_gain", "accuracy"])
def test_curves_are_of_what_was_learnt_and_of_validation(learnt: str) -> None:
    logs = [[{"step": 50, learnt: 1.0, "loss": 0.3}, {"step": 100, "news.two_0db.stoi": 0.7}]]
    assert shown_figures(logs) == [learnt, "news.two_0db.stoi"]
    assert shown_figures([[{"step": 50, "loss": 0.3}]]) == ["loss"]


def test_training_curves(tmp_path: Path) -> None:
    assert training_curves([]) is None
    lines = [{"step": 50, "si_sdr": 1.0, "loss": 0.3}, {"step": 100, "news.two_0db.stoi": 0.7}]
    log = tmp_path / "run" / "log.jsonl"
    log.parent.mkdir()
    log.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    picture = training_curves([log.parent])
    assert picture is not None
    assert picture.startswith(b"\x89PNG")
    log.write_text("{broken")
    with pytest.raises(EvaluationError, match=r"log\.jsonl"):
        training_curves([log.parent])
