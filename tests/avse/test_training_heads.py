"""The heads' trainings, on a corpus made for the test."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from avse.cli import run
from avse.errors import ConfigError
from avse.training.heads.features import FeatureConfig
from avse.training.heads.plan import CHOICE, TEST, HeadsConfig, Row, Split
from avse.training.heads.probe import logistic_regression
from avse.training.heads.recipe import HeadFolders, make_table, open_bench, train_heads
from avse.training.heads.recordings import read_recordings
from avse.training.heads.table_rows import Figure
from avse.training.heads.tables import (
    ACTION_ROWS,
    interval,
    summarise,
    to_markdown,
    write_into,
)
from avse.training.heads.training import HeadTraining
from avse.training.heads.windows import (
    PLAIN,
    SkeletonNoise,
    Variation,
    VariationConfig,
    WindowSpec,
    at_rate,
    depth_window,
    flow_window,
    sampled_frames,
    skeleton_window,
)
from avse.training.manifest import ManifestError
from models.fusion.search import MfasSearch
from models.registry import open_bundle
from preprocessing.skeleton import skeleton_input, stretch_skeleton
from preprocessing.square_view import SquareView
from tests.avse.heads_corpus import N_JOINTS, make_corpus

WINDOW = WindowSpec(n_frames=8, size_px=32, n_skeleton_frames=16)
BRIEF = HeadTraining(n_epochs=2, batch_size=4)
TINY = HeadsConfig(
    features=FeatureConfig(WINDOW, n_variants=2),
    depth=BRIEF,
    flow=BRIEF,
    skeleton=BRIEF,
    fusion=BRIEF,
    width=0.05,
    skeleton_width=0.1,
    n_joints=N_JOINTS,
    search=MfasSearch(n_layers=1, n_rounds=1, n_samples=2),
    n_search_steps=2,
    seeds=(0,),
)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def work(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> HeadFolders:
    """A work folder whose features are cached."""
    folders = HeadFolders(corpus, tmp_path_factory.mktemp("work"))
    open_bench(folders, TINY)
    return folders


def test_recordings_are_read(corpus: Path) -> None:
    recordings = read_recordings(corpus)
    assert recordings.labels == ("rise", "fall")
    assert len(recordings.clips) == 16
    assert [c.subject for c in recordings.clips if not c.is_train][::2] == [2, 4, 6, 8]
    assert recordings.depth(recordings.clips[0]).shape == (18, 36, 48)
    assert recordings.skeletons["a01_s1_t1"].shape == (18, N_JOINTS, 3)
    assert read_recordings(corpus / "action" / "utd_mhad").labels == recordings.labels


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"labels\.csv"):
        read_recordings(tmp_path)


def test_no_subject_stands_on_both_sides() -> None:
    for split in (CHOICE, TEST):
        assert not set(split.train) & set(split.scored)
    assert set(CHOICE.scored) <= set(TEST.train), "choices are made on training subjects"
    with pytest.raises(ValueError, match="train and are scored"):
        replace(TEST, scored=(1,))


def test_the_view_cuts_where_it_says() -> None:
    image = np.zeros((60, 80), np.uint8)
    image[20:30, 50:60] = 200
    cut = SquareView(0.6875, 25 / 60, 1 / 6).cut(image, 10)
    assert (cut == 200).all()
    shrunk = SquareView().cut(image, 30)
    rows, columns = np.nonzero(shrunk > 100)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (10, 14, 20, 24)


def test_windows_have_their_shapes_and_ranges(corpus: Path) -> None:
    recordings = read_recordings(corpus)
    frames = at_rate(recordings.depth(recordings.clips[0]), 30.0, WINDOW.fps)
    assert len(frames) == 9
    depth = depth_window(frames, WINDOW)
    assert depth.shape == (1, 8, 32, 32)
    assert depth.min() == -1
    assert -1 < np.median(depth[depth > -1]) < 1
    flow = flow_window(frames, WINDOW)
    assert flow.shape == (2, 8, 32, 32)
    assert not flow[:, 0].any(), "nothing moves into the first picture"
    hand = np.abs(flow[1]).max((1, 2)).argmax()
    where = np.unravel_index(np.abs(flow[1, hand]).argmax(), (32, 32))
    assert flow[1, hand][where] < 0, "a rising hand has upward motion"


def test_a_later_start_shows_later_pictures() -> None:
    late = sampled_frames(100, 8, Variation(start=0.4, length=0.6))
    assert list(late[[0, -1]]) == [40, 99]
    assert list(sampled_frames(3, 8, PLAIN)[[0, -1]]) == [0, 2]


def test_variations_never_mirror_and_keep_the_background() -> None:
    rng = np.random.default_rng(0)
    frames = np.zeros((9, 36, 48), np.uint8)
    frames[:, 10:20, 30:40] = 120
    for _ in range(20):
        window = depth_window(frames, WINDOW, VariationConfig().draw(rng))
        columns = np.nonzero((window > -1).any((0, 1, 2)))[0]
        assert columns.mean() > 16, "what was right stays right"
        assert window[..., :4].max() == -1


def test_skeletons_have_their_origin_in_the_torso() -> None:
    rng = np.random.default_rng(0)
    skeleton = rng.normal(size=(21, N_JOINTS, 3)).astype(np.float32)
    window = skeleton_window(skeleton, WINDOW)
    assert window.shape == (3, 16, N_JOINTS, 1)
    assert np.allclose(window[:, :, 2], 0)
    assert np.allclose(window, skeleton_input(skeleton, 16, 2))
    ends = stretch_skeleton(skeleton, 16)[[0, -1]]
    assert np.allclose(ends, skeleton[[0, -1]])
    varied = skeleton_window(skeleton, WINDOW, SkeletonNoise(), rng)
    assert varied.shape == window.shape
    assert not np.allclose(varied, window)


def test_features_are_cached_once(work: HeadFolders) -> None:
    before = {p.name: p.stat().st_mtime_ns for p in (work.work / "features").glob("*4f*")}
    assert set(before) == {f"{s}_4f_{v}.npy" for s in ("depth", "flow") for v in (0, 1)}
    bench = open_bench(work, TINY)
    after = {p.name: p.stat().st_mtime_ns for p in (work.work / "features").glob("*4f*")}
    assert before == after
    plain = bench.material.store.read("depth", "4f", [0, 0], [0, 3])
    assert torch.isfinite(plain).all()
    assert plain.abs().sum((1, 2, 3, 4)).min() > 0
    test_clip = next(i for i, c in enumerate(bench.material.recordings.clips) if not c.is_train)
    varied = bench.material.store.read("depth", "4f", [1], [test_clip])
    assert not varied.any(), "scored clips have no variants"


def test_features_of_other_settings_are_refused(work: HeadFolders) -> None:
    window = replace(WINDOW, depth_low=10.0)
    other = replace(TINY, features=FeatureConfig(window, n_variants=2))
    with pytest.raises(ConfigError, match="depth_low"):
        open_bench(work, other)


def test_cached_features_give_what_the_whole_head_gives(work: HeadFolders) -> None:
    bench = open_bench(work, TINY)
    recordings = bench.material.recordings
    head = bench.fresh_head(Row("gesture", "MMTM x 6", "mmtm", n_points=6), 0).eval()
    frames = at_rate(recordings.depth(recordings.clips[0]), 30.0, WINDOW.fps)
    whole = {
        "depth": torch.from_numpy(depth_window(frames, WINDOW))[None],
        "flow": torch.from_numpy(flow_window(frames, WINDOW))[None],
    }
    cached = bench.material.streams(("depth", "flow"), "4c", (0,))
    with torch.inference_mode():
        expected = head(whole).joint
        found = head(cached, after="4c").joint
    assert torch.allclose(expected, found, atol=2e-3)


def test_training_leaves_the_stem_alone_and_moves_the_rest(work: HeadFolders) -> None:
    bench = open_bench(work, TINY)
    row = Row("action", "MMTM", "mmtm")
    before = bench.fresh_head(row, 0).state_dict()
    after = bench.trained_row(row, 0).state_dict()
    moved = {key for key in before if not torch.equal(before[key], after[key])}
    video = {k for k in before if k.startswith("video.")}
    frozen = {k for k in video if ".shared." in k or "stages.1a" in k or "running_" in k}
    assert not moved & frozen
    for part in ("video.towers.depth.stages.5c", "skeleton.fc_8", "fusion."):
        assert any(k.startswith(part) for k in moved), part


def test_a_run_is_kept_and_repeats(work: HeadFolders) -> None:
    bench = open_bench(work, TINY)
    row = Row("gesture", "MMTM x 2", "mmtm", n_points=2)
    first = bench.row(row, 0)
    assert first == bench.row(row, 0)
    (bench.folder / "gesture-MMTM_x_2-0.json").unlink()
    again = bench.row(row, 0)
    assert first["correct"] == again["correct"]
    assert set(first["accuracy"]) == {"joint", "depth", "flow"}


def test_late_fusion_of_towers_is_the_mean_of_their_logits(work: HeadFolders) -> None:
    bench = open_bench(work, TINY)
    late = bench.row(Row("action", "late", "late", is_trained=False), 0)
    for stream in ("depth", "skeleton"):
        assert late["correct"][stream] == bench.alone(stream, 0)["correct"]["joint"]


def test_a_table_comes_out_whole(work: HeadFolders) -> None:
    rows = make_table("figure6", work, TINY, split=Split("quick", (1,), (2, 4)))
    assert [row.name for row in rows][-3:] == ["MMTM x 2", "MMTM x 4", "MMTM x 6"]
    folder = work.work / "tables" / "quick"
    assert (folder / "figure6.png").read_bytes().startswith(b"\x89PNG")
    text = (folder / "figure6.md").read_text(encoding="utf-8")
    assert text.count("\n") == len(rows) + 2
    assert all(set(row.subjects) == {2, 4} for row in rows)


def test_every_fusion_of_the_action_table_trains(work: HeadFolders) -> None:
    rows = make_table("action", work, TINY)
    assert len(rows) == 2 + len(ACTION_ROWS)
    kept = json.loads((work.work / "choice" / "mfas.json").read_text(encoding="utf-8"))
    assert kept[0]["score"] == max(trial["score"] for trial in kept)
    assert all(0 <= row.outputs["joint"].mean <= 100 for row in rows)


def test_a_row_starts_from_the_deepest_stage_it_can() -> None:
    row = Row("gesture", "MMTM x 4", "mmtm", n_points=4)
    assert row.first_fused == "4e"
    assert row.stage(("3a", "4c", "4f")) == "4c"
    assert replace(row, n_points=2).stage(("4c", "4f")) == "4f"
    assert replace(row, n_points=9).stage(("4c", "4f")) is None


def test_the_fitted_classifier_separates_and_ignores_dead_features() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(60) % 3
    live = 5 + 0.1 * (torch.eye(3)[labels] + 0.1 * torch.randn(60, 3, generator=generator))
    dead = 1e-9 * torch.randn(60, 4, generator=generator)
    weight, bias = logistic_regression(torch.cat([live, dead], 1), labels, 3)
    logits = torch.cat([live, dead], 1) @ weight.T + bias
    assert (logits.argmax(1) == labels).all()
    assert weight[:, 3:].abs().max() < 10 * weight[:, :3].abs().max(), "no exploding weights"


def test_intervals_hold_the_mean_and_shrink_with_clips() -> None:
    rng = np.random.default_rng(0)
    few = interval((rng.random((5, 50)) < 0.8).astype(float))
    many = interval((rng.random((5, 2000)) < 0.8).astype(float))
    for figure in (few, many):
        assert figure.low <= figure.mean <= figure.high
    assert many.high - many.low < few.high - few.low
    assert str(Figure(80.0, 70.0, 90.0)) == "80.0 (70.0 to 90.0)"


def test_gains_are_paired() -> None:
    def run_of(correct: list[int]) -> dict[str, object]:
        return {"correct": {"joint": correct}}

    late = {0: run_of([1, 0, 1, 0]), 1: run_of([1, 1, 0, 0])}
    better = {0: run_of([1, 1, 1, 0]), 1: run_of([1, 1, 1, 0])}
    rows = summarise({"late": late, "MMTM": better}, [2, 2, 4, 4])
    assert rows[0].gain is None
    assert rows[1].gain is not None
    assert rows[1].gain.mean == pytest.approx(25)
    assert rows[1].gain.low >= 0, "never worse on any clip"
    assert rows[1].subjects == {2: 100.0, 4: 50.0}
    assert "+25.0" in to_markdown("action", rows)


def test_a_document_takes_the_table_in_its_place(tmp_path: Path) -> None:
    document = tmp_path / "heads.md"
    document.write_text("before\n<!-- table: action -->\nold\n<!-- end -->\nafter\n")
    rows = summarise({"late": {0: {"correct": {"joint": [1, 0]}}}}, [2, 2])
    write_into(document, "action", rows)
    text = document.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "| late |" in text
    assert "old" not in text
    with pytest.raises(ValueError, match="gesture"):
        write_into(document, "gesture", rows)


@pytest.mark.parametrize("task", ["gesture", "action"])
def test_bundles_open_and_answer(work: HeadFolders, task: str) -> None:
    spec = train_heads(task, work, TINY)
    folder = work.work / "bundles" / f"{task}-mmtm"
    opened, head = open_bundle(folder)
    assert opened.sha256 == spec.sha256
    assert spec.task == task
    assert spec.settings["labels"] == ["rise", "fall"]
    streams = {"depth": torch.zeros(1, 1, 8, 32, 32)}
    with torch.inference_mode():
        assert head(streams).joint.shape == (1, 2)


def test_the_commands_run(work: HeadFolders, capsys: pytest.CaptureFixture[str]) -> None:
    settings = [
        "features.window.n_frames=8", "features.window.size_px=32",
        "features.window.n_skeleton_frames=16", "features.n_variants=2", "width=0.05",
        "skeleton_width=0.1", f"n_joints={N_JOINTS}", "seeds=[0]",
        *(f"{part}.{key}" for part in ("depth", "flow", "skeleton", "fusion")
          for key in ("n_epochs=2", "batch_size=4")),
    ]  # fmt: skip
    options = ["--data", str(work.recordings), "--out", str(work.work)]
    options += [word for setting in settings for word in ("--set", setting)]
    assert run(["tables", "gesture", *options]) == 0
    assert "MMTM x 6" in capsys.readouterr().out
    assert run(["tables", "gesture", "--finished", *options, "--set", "seeds=[0, 7]"]) == 0
    assert "MMTM x 6" in capsys.readouterr().out, "seed 7 has not run and is left out"
    assert run(["train", "gesture", *options]) == 0
    assert "gesture-mmtm" in capsys.readouterr().out
    assert run(["train", "action", *options, "--set", "fusion.batch_size=1"]) == 2


def test_results_are_plain_json(work: HeadFolders) -> None:
    bench = open_bench(work, TINY)
    bench.alone("depth", 0)
    kept = json.loads((bench.folder / "depth-alone-0.json").read_text(encoding="utf-8"))
    assert len(kept["correct"]["joint"]) == 8
    assert kept["split"]["scored"] == [2, 4, 6, 8]
