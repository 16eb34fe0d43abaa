"""Names of results: nobody else's, and the same ones next time."""

from pathlib import Path, PurePosixPath

import pytest

from avse.batch.errors import InvalidBatch
from avse.batch.inputs import Listed, Wish
from avse.batch.ledger import Ledger
from avse.batch.plan import PlanConfig, plan
from avse.types import EnhanceOptions


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger.sqlite", tmp_path / "out")


def listed(tmp_path: Path, place: str, **wish) -> Listed:
    path = tmp_path / "in" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return Listed(path, PurePosixPath(place), Wish(**wish), f"list, {place}")


def config(**more) -> PlanConfig:
    given = {"options": EnhanceOptions(), "suffix": ".wav", "is_flat": False} | more
    return PlanConfig(**given, bundle="half@0", detector="embedded")


def names(works) -> list[str]:
    return [work.output for work in works]


def test_the_structure_is_kept_and_the_suffix_replaced(tmp_path, ledger) -> None:
    clips = [listed(tmp_path, "b/talk.v2.mp4"), listed(tmp_path, "a/talk.v2.mp4")]
    assert names(plan(clips, config(), ledger)) == ["b/talk.v2.wav", "a/talk.v2.wav"]


def test_flat_names_do_not_clash_and_stay(tmp_path, ledger) -> None:
    clips = [listed(tmp_path, f"{folder}/talk.mp4") for folder in "abc"]
    first = names(plan(clips, config(is_flat=True), ledger))
    assert first[0] == "talk.wav"
    assert len(set(first)) == 3
    assert all(name.startswith("talk-") for name in first[1:])
    assert names(plan(clips[::-1], config(is_flat=True), ledger)) == first[::-1]


def test_the_same_stem_in_one_folder_does_not_clash(tmp_path, ledger) -> None:
    works = plan([listed(tmp_path, "x.mp4"), listed(tmp_path, "x.wav")], config(), ledger)
    assert len(set(names(works))) == 2


def test_a_name_whose_owner_is_gone_is_free(tmp_path, ledger) -> None:
    old = listed(tmp_path, "old/talk.mp4")
    plan([old], config(is_flat=True), ledger)
    fresh = listed(tmp_path, "new/talk.mp4")
    assert names(plan([fresh], config(is_flat=True), ledger))[0] != "talk.wav"
    old.path.unlink()
    assert names(plan([fresh], config(is_flat=True), ledger)) == ["talk.wav"]


def test_one_result_for_each_face_keeps_off_others_names(tmp_path, ledger) -> None:
    clips = [listed(tmp_path, "x.1.mp4"), listed(tmp_path, "x.mp4", face="all")]
    works = {work.source.name: work.output for work in plan(clips, config(), ledger)}
    assert works["x.1.mp4"] == "x.1.wav"
    assert works["x.mp4"] != "x.wav"
    clips = [listed(tmp_path, "y.mp4", face="all"), listed(tmp_path, "y.2.mp4")]
    works = {work.source.name: work.output for work in plan(clips, config(), ledger)}
    assert works["y.mp4"] == "y.wav"
    assert works["y.2.mp4"] != "y.2.wav"


def test_no_result_takes_the_place_of_an_input(tmp_path, ledger) -> None:
    clip = tmp_path / "out" / "x.wav"
    clip.parent.mkdir()
    clip.touch()
    works = plan([Listed(clip, PurePosixPath("x.wav"))], config(), ledger)
    assert works[0].output != "x.wav"


def test_own_options_and_outputs(tmp_path, ledger) -> None:
    clip = listed(tmp_path, "a/x.mp4", face="2", strength=0.5, mode="av", output="deep/y.MP4")
    (work,) = plan([clip], config(), ledger)
    assert work.output == "deep/y.MP4"
    assert (work.options.face, work.options.strength, work.options.mode) == ("2", 0.5, "av")
    assert not work.options.keep_mask


def test_settings_differ_by_what_matters(tmp_path, ledger) -> None:
    clip = listed(tmp_path, "x.mp4")
    settings = {
        plan([clip], config(**more), ledger)[0].settings
        for more in ({}, {"suffix": ".mp4"}, {"options": EnhanceOptions(strength=0.9)})
    }
    assert len(settings) == 3


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ([{"face": "nobody"}], "face: expected auto"),
        ([{"strength": 2.0}], "strength: expected 0 to 1"),
        ([{"mode": "loud"}], "mode: expected one of"),
        ([{"output": "../x.wav"}], "expected a name below OUT"),
        ([{"output": "/x.wav"}], "expected a name below OUT"),
        ([{"output": "x.txt"}], "expected one of .wav"),
        ([{"output": ".avse-batch/x.wav"}], "expected one of .wav"),
        ([{"output": "x.wav"}, {"output": "./x.wav", "face": "2"}], "an output of its own"),
        ([{"face": "1"}, {"face": "2"}], "an output of its own"),
    ],
)
def test_wrong_wishes_are_refused(tmp_path, ledger, wishes, words) -> None:
    clips = [listed(tmp_path, "x.mp4", **wish) for wish in wishes]
    with pytest.raises(InvalidBatch, match=words):
        plan(clips, config(), ledger)
