"""Covers made over mouths, and two steps of the network that finds them."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from avse.training.cache import cache_path
from avse.training.manifest import read_clips
from avse.training.mouth_clarity import (
    MouthClarityTraining,
    examples,
    read_pictures,
    train_mouth_clarity,
)
from avse.training.mouth_covers import bearded, beside, covered, darkened, elsewhere
from models.mouth_clarity import MouthClarityConfig
from models.registry import open_bundle
from tests.avse.test_training_mouth import _label

SMALL = MouthClarityTraining(
    MouthClarityConfig(widths=(2, 3, 4), n_hidden=4), n_steps=2, batch_size=4
)
MOUTH = (slice(42, 70), slice(27, 85))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Two clips and four labelled pictures, half of each for validation."""
    rng = np.random.default_rng(0)
    (tmp_path / "crops").mkdir()
    (tmp_path / "faces").mkdir()
    lines = ["path,speaker,gender,split,language"]
    labels = []
    for index, split in enumerate(("train", "valid", "train", "valid")):
        picture = rng.integers(0, 255, (120, 120), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "faces" / f"{index}.png"), picture)
        labels.append(_label(f"{index}.png", split, has_human=False))
    (tmp_path / "faces" / "labels.json").write_text(json.dumps(labels))
    for index, split in enumerate(("train", "valid")):
        path = f"av/made/p{index}/{index}.mp4"
        lines.append(f"{path},p{index},f,{split},en")
        np.savez(
            cache_path(tmp_path / "crops", path),
            crops=rng.integers(0, 256, (8, 122, 122), dtype=np.uint8),
            is_visible=np.arange(8) > 1,
            samples=np.zeros(8 * 640, np.int16),
        )
    (tmp_path / "av.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def test_a_cover_hides_most_of_the_mouth_and_a_thing_beside_it_little() -> None:
    black, white = np.zeros((112, 112), np.uint8), np.full((112, 112), 255, np.uint8)
    for seed in range(40):
        for make, least, most in ((covered, 0.7, 1.0), (beside, 0.0, 0.2)):
            pair = [make(c, [], np.random.default_rng(seed)) for c in (black, white)]
            is_thing = pair[1][MOUTH].astype(int) - pair[0][MOUTH] < 50
            assert least <= is_thing.mean() <= most


def test_a_beard_leaves_the_lips() -> None:
    crop = np.full((112, 112), 150, np.uint8)
    for seed in range(20):
        grown = bearded(crop, np.random.default_rng(seed))
        assert abs(float(grown[55:59, 50:62].mean()) - 150) < 12
        assert float(np.abs(grown.astype(int) - 150).max()) > 15


def test_the_dark_and_another_place_are_crops_too() -> None:
    rng = np.random.default_rng(0)
    crop = np.full((112, 112), 200, np.uint8)
    assert darkened(crop, 0.05, 3.0, rng).mean() == pytest.approx(10, abs=1)
    scene = rng.integers(0, 255, (192, 192), dtype=np.uint8)
    assert elsewhere(scene, 112, rng).shape == (112, 112)


def test_every_other_example_shows_lips_and_the_same_numbers_give_the_same(data_dir: Path) -> None:
    source = read_pictures(data_dir, data_dir, "train")
    first, second = (examples(source, SMALL, np.random.default_rng(3), 6) for _ in range(2))
    assert first[0].shape == (6, 112, 112)
    assert first[1].tolist() == [1, 0, 1, 0, 1, 0]
    assert np.array_equal(first[0].numpy(), second[0].numpy())


def test_two_steps_end_in_a_bundle_that_opens(data_dir: Path) -> None:
    spec = train_mouth_clarity(data_dir, data_dir, SMALL)
    found, _ = open_bundle(data_dir / "bundles" / "mouth-clarity")
    assert found.sha256 == spec.sha256
    assert set(spec.card["scores"]["valid"]) == {"clear", "unclear"}


def test_a_run_that_was_cut_off_goes_on_and_ends_as_if_nothing_had_happened(data_dir: Path) -> None:
    config = replace(SMALL, n_steps=3, save_every=1)
    undisturbed = train_mouth_clarity(data_dir, data_dir, config)
    (data_dir / "mouth-clarity" / "checkpoint.pt").unlink()
    steps: list[int] = []

    def cut_off(stage: str, done: int, total: int) -> None:
        steps.append(done)
        if len(steps) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_mouth_clarity(data_dir, data_dir, config, cut_off)
    assert train_mouth_clarity(data_dir, data_dir, config, cut_off).sha256 == undisturbed.sha256
    assert steps == [1, 2, 2, 3]


def test_without_crops_it_says_what_it_expected(data_dir: Path) -> None:
    assert len(read_clips(data_dir)) == 2
    for path in (data_dir / "crops").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="expected crops of train"):
        train_mouth_clarity(data_dir, data_dir, SMALL)
