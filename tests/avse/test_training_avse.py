"""The enhancer's recipe at two steps, on made clips: every stage runs, resumes and lands."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from avse import training
from avse.config import load_config
from avse.errors import ConfigError, DeviceNotFound
from avse.training.cache import CachedClip, cache_path, load_cached
from avse.training.compute import Precision, resolve_compute
from avse.training.faceless_lips import FacelessLips
from avse.training.features import Renderings, lip_features
from avse.training.fusion import FusionConfig, FusionTrainer, has_lips, lip_modules, load_lips
from avse.training.lips import (
    LipsConfig,
    Window,
    WindowSampler,
    contrast,
    crops_of,
    match_figures,
    n_usable,
    train_lips,
)
from avse.training.losses import compressed_l1, negative_si_sdr, negative_snr
from avse.training.manifest import ClipEntry, ManifestError, read_clips, read_sounds
from avse.training.means import MeanOptions, mean_bundle
from avse.training.mix_config import MixConfig
from avse.training.mixtures import MixtureMaker
from avse.training.optimise import OptimiserName
from avse.training.phase import PhaseConfig
from avse.training.recipe import train_avse
from avse.training.recipe_config import SYSTEMS, Folders, RecipeConfig, fusion_config
from avse.training.run_folder import RunFolder
from avse.training.sound_recipe import SoundRecipe
from avse.training.sounds import Voice, VoicePool, level, random_equaliser, random_room
from models.avse_config import AvseConfig
from models.avse_net import AvseNet
from models.lip_sync import LipSync, LipSyncConfig
from models.registry import open_bundle
from models.sound_net import SoundNet, SoundNetConfig
from models.visual_tower import VisualTowerConfig
from models.weights import BundleSpec, save_bundle

CONFIGS = Path(training.__file__).parent.parent / "configs"
N_FRAMES = 32
LIPS = LipSyncConfig(
    VisualTowerConfig(widths=(4, 6, 8, 10), input_px=32),
    n_embedding=16,
    audio_widths=(4, 6, 8, 10),
)
MODEL = AvseConfig(visual=LIPS.visual, encoder_widths=(4, 6, 8, 10), n_bottleneck=12)
CONFIG = RecipeConfig(
    lips=LipsConfig(LIPS, n_steps=2, n_people=2, n_clips=2),
    lips_in_time=LipsConfig(n_steps=2, n_people=2, n_clips=2),
    fusion=FusionConfig(MODEL, n_steps=2, batch_size=3, validate_every=2, snapshot_steps=(1,)),
    n_feature_variants=2,
    n_threads=1,
    n_predictor_steps=2,
    n_valid=2,
    polish=FusionConfig(
        MODEL, n_steps=2, batch_size=2, tower_rate=0.2, validate_every=2, learning_rate=1e-3
    ),
    phase=PhaseConfig(8, 4, (1,), n_steps=2, batch_size=2, validate_every=2, log_every=2),
)


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A manifest of eight made clips of four people, already in the crop cache."""
    rng = np.random.default_rng(0)
    (tmp_path / "crops").mkdir()
    lines = ["path,speaker,gender,split,language"]
    for index in range(8):
        split = "valid" if index >= 6 else "train"
        path = f"av/made/p{index // 2}_{index % 2}/{index}.mp4"
        lines.append(f"{path},p{index % 4},f,{split},en")
        np.savez(
            cache_path(tmp_path / "crops", path),
            crops=rng.integers(0, 256, (N_FRAMES, 122, 122), dtype=np.uint8),
            is_visible=np.ones(N_FRAMES, np.bool_),
            samples=rng.integers(-9000, 9000, N_FRAMES * 640).astype(np.int16),
        )
    (tmp_path / "av.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def clips(data_dir: Path) -> list[CachedClip]:
    return load_cached(data_dir / "crops", read_clips(data_dir))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_two_steps_of_every_stage_end_in_bundles_that_open(
    data_dir: Path, precision: Precision
) -> None:
    bundles = data_dir / "bundles"
    config = replace(CONFIG, precision=precision)
    stages = ("lips", "features", "enhancer")
    systems = ("avse-mmtm", "avse-audio")
    specs = train_avse(
        Folders(data_dir, data_dir, bundles), config=config, systems=systems, stages=stages
    )
    assert [spec.name for spec in specs] == ["lip-sync", *systems]
    for spec in specs:
        found, _ = open_bundle(bundles / spec.name)
        assert found.sha256 == spec.sha256
    log = (data_dir / "avse-mmtm" / "log.jsonl").read_text(encoding="utf-8")
    assert "made.two_0db.stoi" in log
    assert (data_dir / "avse-mmtm" / "step1.pt").is_file()


def test_the_enhancer_s_tower_is_the_lip_tower(data_dir: Path) -> None:
    bundles = data_dir / "bundles"
    train_avse(Folders(data_dir, data_dir, bundles), config=CONFIG, stages=("lips", "enhancer"))
    _, lips = open_bundle(bundles / "lip-sync")
    _, net = open_bundle(bundles / "avse-mmtm")
    crops = torch.randint(0, 256, (1, 4, 112, 112), dtype=torch.uint8)
    for ours, theirs in zip(net.encode_visual(crops), lips.visual(crops), strict=True):  # type: ignore[operator]
        assert torch.equal(ours, theirs)


def test_towers_go_on_with_lips_in_time_and_the_enhancer_listens_again(data_dir: Path) -> None:
    bundles = data_dir / "bundles"
    folders = Folders(data_dir, data_dir, bundles)
    again = replace(MODEL, listens_again=True, more_dilations=(2,))
    fusion = replace(CONFIG.fusion, model=again, first_time_share=0.0)
    config = replace(CONFIG, fusion=fusion)
    train_avse(folders, config=config, stages=("lips",))
    before = open_bundle(bundles / "lip-sync")[1].state_dict()
    stages = ("lips-in-time", "enhancer")
    systems = ("avse-mmtm", "avse-audio")
    specs = train_avse(folders, config=config, systems=systems, stages=stages)
    assert [spec.name for spec in specs] == ["lip-sync", *systems]
    assert (data_dir / "lips-in-time" / "lip_delays.npy").is_file()
    lips = open_bundle(bundles / "lip-sync")[1].state_dict()
    assert any(not torch.equal(before[name], lips[name]) for name in lips)
    net = open_bundle(bundles / "avse-mmtm")[1].state_dict()
    for theirs, ours in (("visual.", "visual."), ("audio.", "agreement.tower.")):
        for name in (n for n in lips if n.startswith(theirs)):
            assert torch.equal(net[ours + name.removeprefix(theirs)], lips[name])


def test_a_system_without_eyes_neither_listens_again_nor_doubts() -> None:
    doubting = replace(MODEL, listens_again=True, trust=(0.0, 0.1))
    config = replace(CONFIG, fusion=replace(CONFIG.fusion, model=doubting))
    blind = fusion_config("avse-audio", LipSync(LIPS), config).model
    assert (blind.listens_again, blind.trust) == (False, (0.0, 0.0))
    assert fusion_config("avse-mmtm", LipSync(LIPS), config).model.trust == (0.0, 0.1)


def test_the_second_time_may_be_told_the_opposite(clips: list[CachedClip], tmp_path: Path) -> None:
    mixtures = maker(clips, tmp_path, MixConfig(n_frames=8))
    batch = mixtures.batch(2, 1, np.random.default_rng(0))
    model = replace(MODEL, listens_again=True)
    guesses = []
    for name, swapped_share in (("told", 0.0), ("misled", 1.0)):
        config = FusionConfig(model, n_steps=2, first_time_share=0.0, swapped_share=swapped_share)
        guesses.append(FusionTrainer(config, RunFolder(tmp_path / name)).first_time(batch))
    told, misled = guesses
    assert told is not None
    assert misled is not None
    torch.testing.assert_close(told, 1 - misled)
    config = FusionConfig(model, n_steps=2, first_time_share=1.0)
    assert FusionTrainer(config, RunFolder(tmp_path / "first")).first_time(batch) is None


def saved_net(folder: Path, value: float, **more: Any) -> Path:
    """A bundle of an enhancer whose weights, towers included, are all of one value."""
    torch.manual_seed(0)
    net = AvseNet(replace(MODEL, n_lip_embedding=16, **more))
    for parameter in net.parameters():
        torch.nn.init.constant_(parameter, value)
    spec = BundleSpec("avse-mmtm", "enhancement", "avse_net", asdict(net.config), {}, {})
    save_bundle(folder, spec, net)
    return folder


def test_the_mean_of_runs_counts_what_an_older_network_lacks_as_it_begins(tmp_path: Path) -> None:
    again = {"listens_again": True, "more_dilations": (2,), "audio_widths": (4, 6, 8, 10)}
    again |= {"level_dilations": (1,), "bin_dilations": (1,)}
    new, old = saved_net(tmp_path / "new", 0.5, **again), saved_net(tmp_path / "old", 0.25)
    options = MeanOptions(mask_power=0.8, mirrors_lips=True, spares_db=(20.0, 28.0))
    spec = mean_bundle([new, old], tmp_path / "mean", options)
    assert len(spec.card["mean_of"]) == 2
    net = open_bundle(tmp_path / "mean")[1]
    assert isinstance(net, AvseNet)
    assert (net.config.mask_power, net.config.mirrors_lips) == (0.8, True)
    assert net.config.spares_db == (20.0, 28.0)
    found = net.state_dict()
    whole = {
        "into.weight": 0.375,
        "hint.weight": 0.25,
        "transfers.3.excite.0.weight": 0.25,
        "transfers.3.squeeze.weight": 0.5,
        "more_blocks.0.norm2.weight": 0.25,
        "more_blocks.0.conv1.weight": 0.5,
        "encoder.level_blocks.1.0.norm2.weight": 0.25,
        "decoder.level_blocks.2.0.conv2.weight": 0.5,
        "refine.blocks.0.norm2.bias": 0.25,
        "visual.stem.0.weight": 0.5,
    }
    for name, value in whole.items():
        assert torch.unique(found[name]).tolist() == [value], name
    with pytest.raises(ConfigError, match=r"expected the network of .*old, found"):
        mean_bundle([old, new], tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_the_mean_of_lips_and_sound_networks_is_of_all_their_weights(tmp_path: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder, value in zip(folders, (0.5, 0.25), strict=True):
        net = LipSync(LipSyncConfig(VisualTowerConfig((4, 6, 8, 10), 32), 16, 80, (4, 6, 8, 10)))
        for parameter in net.parameters():
            torch.nn.init.constant_(parameter, value)
        save_bundle(
            folder, BundleSpec("lip-sync", "lip_sync", "lip_sync", asdict(net.config), {}, {}), net
        )
    mean_bundle(folders, tmp_path / "mean")
    found = open_bundle(tmp_path / "mean")[1]
    assert isinstance(found, LipSync)
    assert {value.item() for p in found.parameters() for value in p.unique()} == {0.375}
    with pytest.raises(ConfigError, match="mask_power: expected an enhancer, found lip-sync"):
        mean_bundle(folders, tmp_path / "none", MeanOptions(mask_power=0.8))
    assert not (tmp_path / "none").exists()


def test_the_mean_of_networks_that_hear_only_can_spare_what_is_next_to_alone(
    tmp_path: Path,
) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    shape = SoundNetConfig(
        widths=(32, 4, 4, 4), n_bottleneck=4, dilations=(1,), phase_dilations=(1,), n_phase_bins=8
    )
    for folder, value in zip(folders, (0.5, 0.25), strict=True):
        net = SoundNet(shape)
        for parameter in net.parameters():
            torch.nn.init.constant_(parameter, value)
        spec = BundleSpec("avse-sound", "enhancement", "sound_net", asdict(net.config), {}, {})
        save_bundle(folder, spec, net)
    mean_bundle(folders, tmp_path / "mean", MeanOptions(spares_db=(20.0, 28.0)))
    found = open_bundle(tmp_path / "mean")[1]
    assert isinstance(found, SoundNet)
    assert found.config == replace(shape, spares_db=(20.0, 28.0))
    assert {value.item() for p in found.parameters() for value in p.unique()} == {0.375}
    with pytest.raises(ConfigError, match="mirrors_lips: expected an enhancer, found avse-sound"):
        mean_bundle(folders, tmp_path / "none", MeanOptions(mirrors_lips=True))


@pytest.mark.parametrize("name", SYSTEMS)
def test_only_systems_that_see_learn_from_what_only_lips_can_tell(name: str) -> None:
    mix = MixConfig(hidden_share=0.2, silent_share=0.3, stray_share=0.4)
    config = replace(CONFIG, fusion=replace(CONFIG.fusion, mix=mix))
    made = fusion_config(name, LipSync(LIPS), config).mix
    shares = (made.hidden_share, made.silent_share, made.stray_share)
    assert shares == ((0.0, 0.0, 0.0) if name == "avse-audio" else (0.2, 0.3, 0.4))


def test_polish_trains_the_tower_too_from_where_the_bundle_stands(data_dir: Path) -> None:
    bundles = data_dir / "bundles"
    train_avse(Folders(data_dir, data_dir, bundles), config=CONFIG, stages=("lips", "enhancer"))
    _, before = open_bundle(bundles / "avse-mmtm")
    train_avse(Folders(data_dir, data_dir, bundles), config=CONFIG, stages=("polish",))
    _, after = open_bundle(bundles / "avse-mmtm")
    towers = zip(before.visual.parameters(), after.visual.parameters(), strict=True)  # type: ignore[union-attr]
    assert any(not torch.equal(old, new) for old, new in towers)


def test_the_phase_is_learned_on_what_the_enhancer_makes_of_mixtures(data_dir: Path) -> None:
    folders = Folders(data_dir, data_dir, data_dir / "bundles")
    train_avse(folders, config=CONFIG, stages=("lips", "enhancer"))
    _, before = open_bundle(folders.bundles / "avse-mmtm")
    (spec,) = train_avse(folders, config=CONFIG, stages=("phase",))
    found, after = open_bundle(folders.bundles / "avse-mmtm")
    assert found.sha256 == spec.sha256
    assert found.card["phase"]["n_steps"] == 2
    assert isinstance(after, AvseNet)
    assert (after.config.phase_dilations, after.config.n_phase_bins) == ((1,), 8)
    own = after.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in before.state_dict().items())
    spectrum = torch.randn(1, 16, 321, dtype=torch.complex64)
    sees = ([torch.randn(1, 4, n) for n in (6, 8, 10)], torch.ones(1, 4, dtype=torch.bool))
    with torch.no_grad():
        heard = after.hear(torch.zeros(1, 16, 80), spectrum, *sees).mask
        mask = after.mask(torch.zeros(1, 16, 80), spectrum.abs(), *sees)
    assert not torch.equal(heard[..., :8].abs(), mask[..., :8])
    assert torch.equal(heard[..., 8:].real, mask[..., 8:])
    log = (data_dir / "avse-mmtm-phase" / "log.jsonl").read_text(encoding="utf-8")
    assert "snr_gain" in log
    assert "made.two_0db.stoi" in log


def test_a_phase_goes_on_where_it_stopped_and_from_given_bundles(data_dir: Path) -> None:
    folders = Folders(data_dir, data_dir, data_dir / "bundles")
    train_avse(folders, config=CONFIG, stages=("lips", "enhancer", "phase"))
    fresh = data_dir / "fresh"
    fresh.mkdir()
    (fresh / "crops").symlink_to(data_dir / "crops")
    config = replace(CONFIG, start_from=str(folders.bundles))
    again = Folders(data_dir, fresh, fresh / "bundles")
    (spec,) = train_avse(again, config=config, stages=("phase",))
    longer = replace(config, phase=replace(config.phase, n_steps=3))
    (more,) = train_avse(again, config=longer, stages=("phase",))
    assert (spec.card["phase"]["n_steps"], more.card["phase"]["n_steps"]) == (2, 3)
    trained = open_bundle(folders.bundles / "avse-mmtm")[1].state_dict()
    same = open_bundle(fresh / "bundles" / "avse-mmtm")[1].state_dict()
    assert all(torch.equal(trained[n], same[n]) for n in trained if not n.startswith("phase."))


def test_after_the_polish_the_phase_is_learned_from_pictures(data_dir: Path) -> None:
    folders = Folders(data_dir, data_dir, data_dir / "bundles")
    train_avse(folders, config=CONFIG, stages=("lips", "enhancer", "polish"))
    _, polished = open_bundle(folders.bundles / "avse-mmtm")
    _, lips = open_bundle(folders.bundles / "lip-sync")
    assert isinstance(polished, AvseNet)
    assert isinstance(lips, LipSync)
    assert not has_lips(polished, lips)
    load_lips(polished, lips)
    assert has_lips(polished, lips)
    (spec,) = train_avse(folders, config=CONFIG, stages=("phase",))
    assert spec.model_config["n_phase_bins"] == 8


def test_a_fusion_goes_on_without_the_phase_of_what_it_began_with(data_dir: Path) -> None:
    folders = Folders(data_dir, data_dir, data_dir / "bundles")
    train_avse(folders, config=CONFIG, stages=("lips", "enhancer", "phase"))
    fresh = data_dir / "fresh"
    fresh.mkdir()
    (fresh / "crops").symlink_to(data_dir / "crops")
    config = replace(CONFIG, start_from=str(folders.bundles))
    train_avse(Folders(data_dir, fresh, fresh / "bundles"), config=config, stages=("enhancer",))
    _, net = open_bundle(fresh / "bundles" / "avse-mmtm")
    assert isinstance(net, AvseNet)
    assert not net.config.phase_dilations


def test_a_fusion_whose_network_has_a_phase_teaches_it_too(data_dir: Path) -> None:
    folders = Folders(data_dir, data_dir, data_dir / "bundles")
    train_avse(folders, config=CONFIG, stages=("lips", "enhancer", "phase"))
    before = open_bundle(folders.bundles / "avse-mmtm")[1].state_dict()
    fresh = data_dir / "fresh"
    fresh.mkdir()
    (fresh / "crops").symlink_to(data_dir / "crops")
    phase = CONFIG.phase
    model = replace(
        CONFIG.fusion.model,
        phase_dilations=phase.dilations,
        n_phase_bins=phase.n_bins,
        n_phase_channels=phase.n_channels,
    )
    fusion = replace(CONFIG.fusion, model=model, keeps_statistics=True)
    config = replace(CONFIG, fusion=fusion, start_from=str(folders.bundles))
    train_avse(Folders(data_dir, fresh, fresh / "bundles"), config=config, stages=("enhancer",))
    after = open_bundle(fresh / "bundles" / "avse-mmtm")[1].state_dict()
    assert before.keys() == after.keys()
    learned = {name.split(".")[0] for name in after if not torch.equal(before[name], after[name])}
    assert {"phase", "refine", "encoder"} <= learned
    assert "visual" not in learned


def test_a_mean_takes_the_phase_of_all_or_of_its_first_or_of_the_one_named(tmp_path: Path) -> None:
    shape = {"phase_dilations": (1, 2), "n_phase_bins": 8, "n_phase_channels": 4}
    plain = saved_net(tmp_path / "plain", 0.25)
    refined = saved_net(tmp_path / "refined", 0.5, **shape)
    first = mean_bundle([refined, plain], tmp_path / "first")
    named = mean_bundle([plain, refined], tmp_path / "named", MeanOptions(phase_from=refined))
    without = mean_bundle([plain, refined], tmp_path / "without")
    for name, spec in (("first", first), ("named", named)):
        net = open_bundle(tmp_path / name)[1]
        assert isinstance(net, AvseNet)
        assert net.config.phase_dilations == (1, 2)
        assert net.phase.out_of.weight.unique().tolist() == [0.5]
        assert net.into.weight.unique().tolist() == [0.375]
        assert spec.card["phase_from"].startswith("avse-mmtm@")
    other = saved_net(tmp_path / "other", 0.25, **shape)
    mean_bundle([refined, other], tmp_path / "both")
    both = open_bundle(tmp_path / "both")[1]
    assert isinstance(both, AvseNet)
    assert both.phase.out_of.weight.unique().tolist() == [0.375]
    again = mean_bundle([tmp_path / "named"], tmp_path / "again")
    assert again.card["phase_from"] == named.card["phase_from"]
    assert "phase_from" not in without.card
    with pytest.raises(ConfigError, match=r"plain: expected an enhancer with a phase refiner"):
        mean_bundle([refined], tmp_path / "none", MeanOptions(phase_from=plain))
    assert not (tmp_path / "none").exists()


def test_a_mean_can_be_of_some_parts_alone(tmp_path: Path) -> None:
    shape = {"phase_dilations": (1, 2), "n_phase_bins": 8, "n_phase_channels": 4}
    first = saved_net(tmp_path / "first", 0.5, **shape)
    other = saved_net(tmp_path / "other", 0.25, **shape)
    for only, phase in ((("decoder", "phase"), 0.375), (("decoder",), 0.5)):
        mean = mean_bundle([first, other], tmp_path / "mean", MeanOptions(only=only))
        net = open_bundle(tmp_path / "mean")[1]
        assert isinstance(net, AvseNet)
        assert mean.card["mean_parts"] == list(only)
        assert net.phase.out_of.weight.unique().tolist() == [phase]
        assert net.decoder.mixers[0][0].weight.unique().tolist() == [0.375]  # type: ignore[index]
        assert net.encoder.layers[0][0].weight.unique().tolist() == [0.5]  # type: ignore[index]
    for name in ("ears", "visual"):
        with pytest.raises(ConfigError, match=f"{name}: expected a part of the enhancer, encoder"):
            mean_bundle([first, other], tmp_path / "none", MeanOptions(only=(name,)))
    assert not (tmp_path / "none").exists()


def test_a_mean_can_take_the_towers_of_a_lip_sync(data_dir: Path, tmp_path: Path) -> None:
    bundles = data_dir / "bundles"
    train_avse(Folders(data_dir, data_dir, bundles), config=CONFIG, stages=("lips", "enhancer"))
    spec, lips = open_bundle(bundles / "lip-sync")
    assert isinstance(lips, LipSync)
    with torch.no_grad():
        for weight in lips.visual.parameters():
            weight.add_(0.25)
    other = save_bundle(tmp_path / "lip-sync", spec, lips)
    run = bundles / "avse-mmtm"
    options = MeanOptions(lips_from=tmp_path / "lip-sync")
    mean = mean_bundle([run], tmp_path / "mean", options)
    before, after = (open_bundle(folder)[1] for folder in (run, tmp_path / "mean"))
    assert isinstance(before, AvseNet)
    assert isinstance(after, AvseNet)
    assert has_lips(after, lips)
    assert not has_lips(before, lips)
    assert torch.equal(before.into.weight, after.into.weight)
    assert mean.card["lips_from"] == f"lip-sync@{other.sha256[:12]}"
    with pytest.raises(ConfigError, match="expected a lip-sync, found avse-mmtm"):
        mean_bundle([run], tmp_path / "none", MeanOptions(lips_from=run))
    with pytest.raises(ConfigError, match="lips_from: expected an enhancer"):
        mean_bundle([tmp_path / "lip-sync"], tmp_path / "none", options)
    assert not (tmp_path / "none").exists()


def test_a_new_run_begins_with_the_bundles_it_is_given(data_dir: Path, tmp_path: Path) -> None:
    bundles = data_dir / "bundles"
    train_avse(Folders(data_dir, data_dir, bundles), config=CONFIG, stages=("lips", "enhancer"))
    fresh = data_dir / "fresh"
    (fresh / "crops").parent.mkdir()
    (fresh / "crops").symlink_to(data_dir / "crops")
    still = replace(CONFIG.fusion, learning_rate=0.0)
    config = replace(CONFIG, fusion=still, start_from=str(bundles))
    train_avse(Folders(data_dir, fresh, fresh / "bundles"), config=config, stages=("enhancer",))
    _, given = open_bundle(bundles / "avse-mmtm")
    _, begun = open_bundle(fresh / "bundles" / "avse-mmtm")
    for old, new in zip(given.parameters(), begun.parameters(), strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("name", SYSTEMS)
def test_systems_to_compare_begin_with_the_same_towers(tmp_path: Path, name: str) -> None:
    fusion = fusion_config(name, LipSync(LIPS), CONFIG)
    first = fusion_config("avse-mmtm", LipSync(LIPS), CONFIG)
    given = FusionTrainer(replace(first, seed=7), RunFolder(tmp_path / "given")).net.state_dict()
    trainer = FusionTrainer(fusion, RunFolder(tmp_path / "run"))
    fresh = {k: v.clone() for k, v in trainer.net.state_dict().items()}
    trainer.start_from(given, joins_anew=True)
    for key, begun in trainer.net.state_dict().items():
        joins = key.startswith(("transfers.", "concat."))
        assert torch.equal(begun, fresh[key] if joins else given[key]), key


def test_the_mean_of_the_snapshots_ships_if_asked_for(data_dir: Path) -> None:
    averaging = replace(CONFIG.fusion, averages_snapshots=True, learning_rate=0.05)
    config = replace(CONFIG, fusion=averaging)
    bundles = data_dir / "bundles"
    train_avse(Folders(data_dir, data_dir, bundles), config=config, stages=("lips", "enhancer"))
    run = RunFolder(data_dir / "avse-mmtm")
    first, last = (run.load(f"step{step}.pt") for step in (1, 2))
    assert first is not None
    assert last is not None
    shipped = open_bundle(bundles / "avse-mmtm")[1].state_dict()
    key = "blocks.0.conv1.weight"
    assert not torch.allclose(first["model"][key], last["model"][key], atol=1e-3)
    mean = (first["model"][key] + last["model"][key]) / 2
    torch.testing.assert_close(shipped[key], mean, rtol=0, atol=1e-3)


def test_precision_and_device_are_what_was_asked_for() -> None:
    assert resolve_compute("cpu", "bf16").is_bf16
    assert not resolve_compute("cpu", "fp32").is_bf16
    with pytest.raises(ConfigError, match=r"expected auto, fp32 or bf16, found 'int8'"):
        resolve_compute("cpu", "int8")  # type: ignore[arg-type]
    with pytest.raises(DeviceNotFound):
        resolve_compute("tpu")


def test_one_person_with_many_clips_does_not_make_most_targets() -> None:
    many = [Voice("a/one", "a", np.zeros(16_000 * 60, np.int16))]
    few = [Voice(f"b/{i}", "b", np.zeros(16_000, np.int16)) for i in range(30)]
    for power, expected in ((0.0, (60 / 30) ** 0.5), (1.0, (60 / (30 * 30)) ** 0.5)):
        pool = VoicePool(many + few, power)
        drawn = [pool.draw(np.random.default_rng(seed)).corpus for seed in range(600)]
        share = drawn.count("a") / len(drawn)
        assert share == pytest.approx(expected / (1 + expected), abs=0.07)


def test_a_run_goes_on_where_it_stopped(clips: list[CachedClip], tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    half = replace(CONFIG.lips, n_steps=2, save_every=1)
    train_lips(clips, [], run, half)
    state = run.load()
    assert state is not None
    assert state["step"] == 2
    assert train_lips(clips, [], run, half).state_dict().keys() == state["model"].keys()


def maker(clips: list[CachedClip], tmp_path: Path, config: MixConfig) -> MixtureMaker:
    from avse.training.recipe import _voice_of_clip

    torch.manual_seed(0)
    lips = lip_features(clips, LipSync(LIPS).visual, tmp_path / "f.npz", Renderings(n=2))
    voices = [_voice_of_clip(clip, index) for index, clip in enumerate(clips)]
    noise = np.random.default_rng(1).integers(-9000, 9000, 30_000).astype(np.int16)
    return MixtureMaker(VoicePool(voices), [noise], lips, None, config)


def test_features_with_a_mirror_are_those_of_a_network_that_mirrors_lips(
    clips: list[CachedClip], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    tower = LipSync(LIPS).visual.eval()
    renderings = Renderings(n=1, with_mirror=True)
    lips = lip_features(clips, tower, tmp_path / "f.npz", renderings)
    crops = torch.from_numpy(crops_of(Window(clips[0], 0), n_usable(clips[0])))[None]
    net = AvseNet(AvseConfig(visual=LIPS.visual, mirrors_lips=True)).eval()
    net.visual.load_state_dict(tower.state_dict())
    with torch.no_grad():
        expected = torch.cat(net.encode_visual(crops), 2)[0]
    assert torch.allclose(torch.from_numpy(lips.of(0)).float(), expected, atol=2e-3)


def test_mixtures_repeat_and_hold_what_they_promise(
    clips: list[CachedClip], tmp_path: Path
) -> None:
    make = maker(clips, tmp_path, MixConfig(n_frames=8, hidden_share=0.5, half_hidden_share=0.0))
    first = make.batch(12, 3, np.random.default_rng(3))
    second = make.batch(12, 3, np.random.default_rng(3))
    assert torch.equal(first.noisy, second.noisy)
    assert first.noisy.shape == (12, 8 * 640)
    assert first.features.shape == (12, 8, 24)
    hidden = ~first.is_visible.any(1)
    assert 0 < hidden.sum() < 12
    assert torch.isfinite(first.noisy).all()


@pytest.mark.parametrize("alone", [False, True])
def test_pairs_are_one_mixture_with_either_voice_as_the_target(
    clips: list[CachedClip], tmp_path: Path, *, alone: bool
) -> None:
    config = MixConfig(n_frames=8, pair_share=1.0, noise_share=0.0, target_only_share=0.0)
    make = maker(clips, tmp_path, replace(config, alone_share=float(alone)))
    batch = make.batch(6, 3, np.random.default_rng(3))
    for first, second in zip(range(0, 6, 2), range(1, 6, 2), strict=True):
        scale = batch.noisy[first].norm() / batch.noisy[second].norm()
        assert torch.allclose(batch.noisy[first], batch.noisy[second] * scale, atol=1e-5)
        both = batch.clean[first] + batch.clean[second] * scale
        assert torch.allclose(both, batch.noisy[first], atol=1e-5) == alone


def test_lips_may_be_moved_in_time_inside_their_clip(
    clips: list[CachedClip], tmp_path: Path
) -> None:
    make = maker(clips, tmp_path, MixConfig(n_frames=8, lip_jitter_frames=0.5))
    rng = np.random.default_rng(3)
    drawn = np.stack([make._places(5, 8, 30, rng) for _ in range(200)])
    assert np.allclose(np.diff(drawn, axis=1), 1)
    assert drawn[:, 0].std() == pytest.approx(0.5, rel=0.2)
    edge = np.stack([make._places(0, 8, 8, rng) for _ in range(50)])
    assert edge.min() == 0
    assert edge.max() == 7


def test_voices_without_faces_become_targets(data_dir: Path) -> None:
    rng = np.random.default_rng(5)
    lines = ["path,type,split,dataset,speaker_or_class,seconds"]
    for name, kind in (("a", "speech"), ("b", "speech"), ("wind", "noise")):
        wavfile.write(data_dir / f"{name}.wav", 16_000, rng.integers(-9000, 9000, 40_000, np.int16))
        lines.append(f"{name}.wav,{kind},train,made-{kind},{name},2.5")
    (data_dir / "audio.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    mix = replace(CONFIG.fusion.mix, faceless_share=1.0)
    config = replace(CONFIG, fusion=replace(CONFIG.fusion, mix=mix))
    folders = Folders(data_dir, data_dir, data_dir / "bundles")
    train_avse(folders, config=config, stages=("lips", "enhancer"))
    kept = FacelessLips.load(data_dir / "faceless_lips.npz")
    assert len(kept.predicted) == 2
    assert all(values.shape == (62, 24) for values in kept.predicted.values())
    assert kept.residuals
    assert "sound_to_lips_explained" in (data_dir / "lips" / "log.jsonl").read_text("utf-8")


def test_target_alone_is_untouched_by_the_mixing(clips: list[CachedClip], tmp_path: Path) -> None:
    make = maker(clips, tmp_path, MixConfig(n_frames=8, pair_share=0.0, target_only_share=1.0))
    batch = make.batch(4, 3, np.random.default_rng(3))
    assert torch.allclose(batch.noisy, batch.clean)


def test_a_silent_person_has_a_still_mouth_and_silence_to_learn(
    clips: list[CachedClip], tmp_path: Path
) -> None:
    config = MixConfig(n_frames=8, pair_share=0.0, target_only_share=0.0, silent_share=1.0)
    batch = maker(clips, tmp_path, config).batch(4, 2, np.random.default_rng(3))
    assert not batch.clean.any()
    assert (batch.noisy.square().mean(1).sqrt() > 0.01).all()
    assert batch.is_visible.all()
    moving = maker(clips, tmp_path, MixConfig(n_frames=8, hidden_share=0.0))
    spoken = moving.batch(4, 2, np.random.default_rng(3)).features
    assert batch.features.std(1).mean() < spoken.std(1).mean()
    trainer = FusionTrainer(CONFIG.fusion, RunFolder(tmp_path / "run"))
    figures = trainer.train_step(batch)
    assert np.isfinite(list(figures.values())).all()


@pytest.mark.parametrize("share", ["hidden_share", "stray_share"])
def test_every_voice_is_wanted_where_no_lips_tell(
    clips: list[CachedClip], tmp_path: Path, share: str
) -> None:
    alone = MixConfig(n_frames=8, pair_share=0.0, target_only_share=0.0, noise_share=0.0)
    known = replace(alone, hidden_share=0.0, half_hidden_share=0.0)
    make = maker(clips, tmp_path, known)
    batch = make.batch(12, 2, np.random.default_rng(4))
    assert not torch.equal(batch.noisy, batch.clean)
    make = maker(clips, tmp_path, replace(known, **{share: 1.0}))
    make.noises = []  # nothing but voices
    batch = make.batch(12, 2, np.random.default_rng(4))
    torch.testing.assert_close(batch.noisy, batch.clean)
    assert batch.is_visible.any() == (share == "stray_share")


def test_training_step_changes_all_but_the_frozen_tower(
    clips: list[CachedClip], tmp_path: Path
) -> None:
    make = maker(clips, tmp_path, MixConfig(n_frames=8, hidden_share=0.5))
    trainer = FusionTrainer(CONFIG.fusion, RunFolder(tmp_path / "run"))
    before = {name: p.detach().clone() for name, p in trainer.net.named_parameters()}
    for step in range(4):
        trainer.train_step(make.batch(4, 2, np.random.default_rng(step)))
    frozen = {n for n, p in trainer.net.named_parameters() if torch.equal(p, before[n])}
    assert frozen == {name for name in before if name.startswith(("visual.", "lip_head."))}


def test_parts_that_learn_alone_leave_all_else_as_it_was(
    clips: list[CachedClip], tmp_path: Path
) -> None:
    make = maker(clips, tmp_path, MixConfig(n_frames=8))
    config = replace(CONFIG.fusion, learns=("decoder", "refine"))
    trainer = FusionTrainer(config, RunFolder(tmp_path / "run"))
    before = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    for step in range(2):
        trainer.train_step(make.batch(4, 2, np.random.default_rng(step)))
    after = trainer.net.state_dict()
    learned = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert learned == {"decoder", "refine"}


def test_a_part_that_is_not_there_cannot_learn(tmp_path: Path) -> None:
    config = replace(CONFIG.fusion, learns=("decoder", "ears"))
    with pytest.raises(ConfigError, match=r"expected a part .*decoder.*, found ears"):
        FusionTrainer(config, RunFolder(tmp_path / "run"))


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_a_stopped_enhancer_goes_on_as_if_it_had_not_been(
    clips: list[CachedClip], tmp_path: Path, optimiser: OptimiserName
) -> None:
    config = replace(CONFIG.fusion, optimiser=optimiser)
    make = maker(clips, tmp_path, MixConfig(n_frames=8))
    batches = [make.batch(4, 2, np.random.default_rng(step)) for step in range(3)]
    straight = FusionTrainer(config, RunFolder(tmp_path / "straight"))
    for batch in batches:
        straight.train_step(batch)
    stopped = FusionTrainer(config, RunFolder(tmp_path / "stopped"))
    stopped.train_step(batches[0])
    stopped.save()
    resumed = FusionTrainer(config, RunFolder(tmp_path / "stopped"))
    for batch in batches[1:]:
        resumed.train_step(batch)
    assert resumed.step == straight.step
    expected = straight.net.state_dict()
    for name, found in resumed.net.state_dict().items():
        torch.testing.assert_close(found, expected[name], msg=name)


@pytest.mark.parametrize("keeps", [False, True])
def test_a_trained_network_may_keep_its_statistics(
    clips: list[CachedClip], tmp_path: Path, keeps: bool
) -> None:
    config = replace(CONFIG.fusion, keeps_statistics=keeps)
    make = maker(clips, tmp_path, MixConfig(n_frames=8))
    trainer = FusionTrainer(config, RunFolder(tmp_path / "run"))
    before = {name: b.clone() for name, b in trainer.net.named_buffers()}
    trainer.train_step(make.batch(4, 2, np.random.default_rng(0)))
    moved = {n for n, b in trainer.net.named_buffers() if not torch.equal(b, before[n])}
    assert bool(moved) != keeps
    assert not any(module.training for module in lip_modules(trainer.net))


def test_contrast_is_small_where_pairs_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    unit = torch.nn.functional.normalize(torch.randn(6, 5, 16, generator=generator), dim=2)
    agree, right = contrast(unit, unit, torch.tensor(4.0))
    differ, _ = contrast(unit, unit.roll(1, 0), torch.tensor(4.0))
    assert right == 1.0
    assert agree < differ


def test_windows_of_one_clip_are_apart(clips: list[CachedClip]) -> None:
    sampler = WindowSampler(clips, LipsConfig(LIPS, n_people=2, n_clips=2))
    windows = sampler.batch(np.random.default_rng(0))
    assert len(windows) == 8
    assert all(w.start_frame + 16 <= N_FRAMES for w in windows)
    assert all(
        a.start_frame <= b.start_frame for a, b in zip(windows[::2], windows[1::2], strict=True)
    )


def test_match_figures_are_shares(clips: list[CachedClip]) -> None:
    figures = match_figures(LipSync(LIPS), clips, 16)
    assert figures["n_clips"] == len(clips)
    assert 0 <= figures["own_clip"] <= 1


def test_equaliser_and_room_keep_length_and_level() -> None:
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 0.1, 5120).astype(np.float32)
    coloured = random_equaliser(sound, rng, 5.0)
    assert coloured.shape == sound.shape
    assert abs(level(coloured) / level(sound) - 1) < 1e-3
    assert not np.allclose(coloured, sound, atol=1e-3)
    assert random_room(sound, rng).shape == sound.shape


def test_losses_are_least_at_the_truth() -> None:
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(2, 4000, generator=generator)
    other = clean + 0.5 * torch.randn(2, 4000, generator=generator)
    assert compressed_l1(clean.abs(), clean.abs()) == 0
    assert (negative_snr(clean, clean) < negative_snr(0.8 * clean, clean)).all()
    assert not negative_snr(clean, torch.zeros_like(clean)).any()
    assert (negative_si_sdr(clean, clean) < negative_si_sdr(other, clean)).all()
    assert torch.allclose(
        negative_si_sdr(other, clean), negative_si_sdr(3 * other, clean), atol=1e-3
    )


def test_a_tree_like_voxceleb2_is_read_and_split_by_speaker(tmp_path: Path) -> None:
    for speaker in ("id00012", "id00015"):
        folder = tmp_path / speaker / "21Uxsk56VDQ"
        folder.mkdir(parents=True)
        (folder / "00001.mp4").touch()
        (folder / "00002.mp4").touch()
    entries = read_clips(tmp_path)
    assert {e.speaker for e in entries} == {"id00012", "id00015"}
    assert all(
        len({e.split for e in entries if e.speaker == s}) == 1 for s in ("id00012", "id00015")
    )
    assert read_sounds(tmp_path) == []


def test_an_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"expected av\.csv"):
        read_clips(tmp_path)


def test_clip_entries_name_their_corpus(data_dir: Path) -> None:
    assert {e.corpus for e in read_clips(data_dir)} == {"made"}
    assert isinstance(read_clips(data_dir)[0], ClipEntry)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.name)
def test_recipes_that_ship_are_readable(path: Path) -> None:
    if path.stem == "avse-sound":
        assert load_config(SoundRecipe, path).sound.n_steps > 0
    else:
        assert load_config(RecipeConfig, path).fusion.n_steps > 0
    assert path.read_text(encoding="utf-8").startswith("#")
