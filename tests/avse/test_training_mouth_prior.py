import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from avse.cli import run
from avse.errors import ConfigError
from avse.evaluation.hidden_mouth import as_it_is, filled_by, hidden_items
from avse.training.cache import CachedClip, cache_path, load_cached
from avse.training.features import Renderings, lip_features
from avse.training.manifest import read_clips
from avse.training.mouth_prior import (
    MouthPriorTraining,
    check_tower,
    priors_of,
    read_material,
    run_comparison,
    train_prior,
)
from models.avse_config import AvseConfig
from models.avse_net import AvseNet
from models.mouth_prior import MouthPriorConfig
from models.registry import open_bundle
from models.visual_tower import VisualTowerConfig
from models.weights import BundleSpec, save_bundle

N_FRAMES = 32
VISUAL = VisualTowerConfig(widths=(4, 6, 8, 10), input_px=32)
MODEL = AvseConfig(visual=VISUAL, encoder_widths=(4, 6, 8, 10), n_bottleneck=12, n_lip_embedding=16)
CONFIG = MouthPriorTraining(
    model=MouthPriorConfig(n_priors=4, widths=(4, 4, 4, 4), n_hidden=6),
    n_steps=2,
    batch_size=2,
    n_valid=2,
)


@pytest.fixture
def net() -> AvseNet:
    torch.manual_seed(0)
    return AvseNet(MODEL).eval()


@pytest.fixture
def work_dir(tmp_path: Path, net: AvseNet) -> Path:
    """What `avse train avse` leaves: manifest, crops, lip features, sounds."""
    rng = np.random.default_rng(0)
    (tmp_path / "crops").mkdir()
    lines = ["path,speaker,gender,split,language"]
    for index in range(8):
        split = "valid" if index >= 5 else "train"
        path = f"av/made/{index}.mp4"
        lines.append(f"{path},p{index},f,{split},en")
        np.savez(
            cache_path(tmp_path / "crops", path),
            crops=rng.integers(0, 256, (N_FRAMES, 122, 122), dtype=np.uint8),
            is_visible=np.ones(N_FRAMES, np.bool_),
            samples=rng.integers(-9000, 9000, N_FRAMES * 640).astype(np.int16),
        )
    (tmp_path / "av.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    lines = ["path,type,split,dataset,speaker_or_class,seconds"]
    for index, split in enumerate(("train", "valid")):
        sound = rng.normal(0, 3000, 16_000).astype(np.int16)
        wavfile.write(tmp_path / f"{index}.wav", 16_000, sound)
        lines.append(f"{index}.wav,noise,{split},made,hum,1.0")
    (tmp_path / "audio.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for split, name in (("train", ""), ("valid", "_valid")):
        clips = clips_of(tmp_path, split)
        lip_features(clips, net.visual, tmp_path / f"lip_features{name}.npz")
    return tmp_path


def clips_of(folder: Path, split: str) -> list[CachedClip]:
    return load_cached(folder / "crops", [e for e in read_clips(folder) if e.split == split])


def test_priors_are_movements_about_the_mean_mouth(work_dir: Path, net: AvseNet) -> None:
    lips = lip_features([], net.visual, work_dir / "lip_features.npz")
    mean, centres = priors_of(lips, CONFIG)
    frames = torch.from_numpy(lips.values[0].astype(np.float32))
    torch.testing.assert_close(mean, frames.mean(0), atol=2e-3, rtol=1e-2)
    assert centres.shape == (4, frames.shape[1])
    assert (centres.abs() <= (frames - mean).abs().amax(0) * 2 + 1e-3).all()


def test_training_changes_the_prior_and_nothing_else(work_dir: Path, net: AvseNet) -> None:
    material = read_material(work_dir, work_dir, net, CONFIG)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.requires_grad_(False)
    none, two = (
        train_prior(net, material.lips, material.mixtures, replace(CONFIG, n_steps=n))
        for n in (0, 2)
    )
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(none.weigh.priors, two.weigh.priors)
    assert not torch.equal(none.weigh.weights.mean.weight, two.weigh.weights.mean.weight)


def test_the_comparison_is_written_with_weights_that_open(work_dir: Path, net: AvseNet) -> None:
    material = read_material(work_dir, work_dir, net, CONFIG)
    table = run_comparison(net, material, work_dir / "out", CONFIG)
    assert len(table) == 4
    for ways in table.values():
        assert ways["learned embedding"]["stoi_over_baseline"] == 0
        assert {"zeros", "SMIL prior", "mouth shown"} < set(ways)
        assert all(way["n"] == 2 for way in ways.values())
    kept = json.loads((work_dir / "out" / "hidden_mouth.json").read_text())
    assert kept["scores"] == table
    spec, prior = open_bundle(work_dir / "out" / "mouth-prior")
    assert spec.task == "mouth_prior"
    assert prior.config.n_features == 24


@pytest.mark.parametrize("mirrors_lips", [False, True])
def test_features_of_another_tower_are_refused(
    work_dir: Path, net: AvseNet, *, mirrors_lips: bool
) -> None:
    clips = clips_of(work_dir, "train")
    path, shown = work_dir / "shown.npz", Renderings(n=1, with_mirror=mirrors_lips)
    features = lip_features(clips, net.visual, path, shown).of(0)
    like = replace(MODEL, mirrors_lips=mirrors_lips)
    same, other = AvseNet(like), AvseNet(like)
    same.load_state_dict(net.state_dict())
    check_tower(same, clips[0], features)
    with pytest.raises(ConfigError, match="others"):
        check_tower(other, clips[0], features)


def test_features_that_are_not_there_are_asked_for(work_dir: Path, net: AvseNet) -> None:
    (work_dir / "lip_features.npz").unlink()
    with pytest.raises(FileNotFoundError, match="avse train avse"):
        read_material(work_dir, work_dir, net, CONFIG)


def test_items_hide_what_their_names_say(work_dir: Path, net: AvseNet) -> None:
    valid = clips_of(work_dir, "valid")
    lips = lip_features(valid, net.visual, work_dir / "lip_features_valid.npz")
    items = hidden_items(valid, lips, [np.full(9000, 500, np.int16)], 2, 0)
    shares = {item.group: item.is_visible.mean() for item in items}
    assert shares == {
        "noise, hidden throughout": 0.0,
        "noise, hidden for the second half": 0.5,
        "two voices, hidden for the second half": 0.5,
        "clean, hidden throughout": 0.0,
    }
    for item in items:
        assert np.sqrt(np.mean(item.noisy**2)) == pytest.approx(0.05, rel=1e-3)
        assert np.array_equal(item.noisy, item.clean) == item.group.startswith("clean")


def test_filling_in_makes_every_frame_count(work_dir: Path, net: AvseNet) -> None:
    material = read_material(work_dir, work_dir, net, CONFIG)
    prior = train_prior(net, material.lips, material.mixtures, replace(CONFIG, n_steps=0))
    visual = [torch.randn(1, 8, n) for n in net.visual.feature_channels]
    hidden, loudness = torch.zeros(1, 8, dtype=torch.bool), torch.randn(1, 32, 80)
    filled, shown = filled_by(prior)(loudness, visual, hidden)
    assert shown.all()
    assert not torch.equal(filled[0], visual[0])
    assert as_it_is(loudness, visual, hidden) == (visual, hidden)


def test_the_command_runs_on_a_run_folder(
    work_dir: Path, net: AvseNet, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = work_dir / "net"
    spec = BundleSpec("net", "enhancement", "avse_net", asdict(MODEL), {}, {})
    save_bundle(bundle, spec, net)
    # fp16 weights give slightly other features; the guard allows that much
    small = ["n_steps=1", "batch_size=2", "n_valid=1", "model.n_priors=3"]
    common = ["--data", str(work_dir), "--work", str(work_dir), "--model", str(bundle)]
    settings = [f"--set={each}" for each in small]
    assert run(["train", "mouth-prior", *common, "--out", str(work_dir / "o"), *settings]) == 0
    assert "hidden_mouth.json" in capsys.readouterr().out
