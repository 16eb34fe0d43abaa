"""Bundles are found in order, verified, and refused with the reason."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from avse.bundle import EnhancementSettings, find_bundle, list_bundles, load_bundle
from avse.device import default_batch_windows, resolve_device
from avse.errors import DeviceNotFound
from models.avse_config import AvseConfig
from models.avse_net import AvseNet
from models.errors import BundleInvalid, BundleNotFound, ChecksumMismatch, StateMismatch
from models.visual_tower import VisualTowerConfig
from models.weights import BundleSpec, save_bundle

TINY = AvseConfig(
    visual=VisualTowerConfig(widths=(2, 2, 2, 2), input_px=16),
    encoder_widths=(4, 4, 4, 4),
    n_bottleneck=8,
    dilations=(1,),
)


def save(folder: Path, task: str = "enhancement", **settings: object) -> BundleSpec:
    everything = asdict(EnhancementSettings()) | settings
    spec = BundleSpec(folder.name, task, "avse_net", asdict(TINY), everything, {})
    torch.manual_seed(0)
    return save_bundle(folder, spec, AvseNet(TINY))


def edit(folder: Path, **changes: object) -> None:
    path = folder / "bundle.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_saved_then_loaded_gives_the_same_settings_and_weights(tmp_path: Path) -> None:
    spec = save(tmp_path / "tiny", min_fps=12.0)
    bundle = load_bundle("tiny", [tmp_path])
    assert bundle.settings == EnhancementSettings(min_fps=12.0)
    assert bundle.module.config == TINY
    assert not bundle.module.training
    assert bundle.label == f"tiny@{spec.sha256[:12]}"


def test_search_order_and_explicit_path(tmp_path: Path) -> None:
    places = [tmp_path / "packaged", tmp_path / "cache"]
    for place in places:
        save(place / "tiny")
    save(places[1] / "other")
    assert find_bundle("tiny", places) == places[0] / "tiny"
    assert find_bundle(places[1] / "tiny", places) == places[1] / "tiny"
    assert find_bundle(str(places[1] / "tiny"), places) == places[1] / "tiny"
    assert find_bundle("other", places) == places[1] / "other"
    found = list_bundles(places)
    assert [entry.spec.name for entry in found] == ["other", "tiny"]
    assert found[1].folder == places[0] / "tiny"


@pytest.mark.parametrize("name", ["tiny", "../tiny", "/etc/tiny", ""])
def test_nowhere_lists_the_places(tmp_path: Path, name: str) -> None:
    with pytest.raises(BundleNotFound, match="expected it at one of"):
        find_bundle(name, [tmp_path])


def test_other_weights_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "tiny")
    path = tmp_path / "tiny" / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ChecksumMismatch, match="expected sha256"):
        load_bundle(tmp_path / "tiny")


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "tiny")
    edit(tmp_path / "tiny", model_config=asdict(TINY) | {"n_bottleneck": 16})
    with pytest.raises(StateMismatch, match="do not fit"):
        load_bundle(tmp_path / "tiny")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"speed": 1}, "unknown key settings.speed"),
        ({"level_rms": "loud"}, "settings.level_rms: expected float"),
        ({"chunk": {"window_frames": 10}}, "settings.chunk.*multiples of 4"),
        ({"stft": {"hop_samples": 80}}, "settings.stft"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, settings: dict, message: str) -> None:
    save(tmp_path / "tiny", **settings)
    with pytest.raises(BundleInvalid, match=message):
        load_bundle(tmp_path / "tiny")


def test_a_bundle_of_another_task_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "tiny", task="lip_sync")
    with pytest.raises(BundleInvalid, match="expected task 'enhancement', found 'lip_sync'"):
        load_bundle(tmp_path / "tiny")


def test_devices_by_name() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_device("auto").type in ("cpu", "cuda")
    assert default_batch_windows(torch.device("cpu")) == 1
    for name in ("warp", "cuda:99", "meta"):
        with pytest.raises(DeviceNotFound, match=name):
            resolve_device(name)
