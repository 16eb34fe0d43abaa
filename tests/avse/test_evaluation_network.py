"""A bundle as a system: cached crops reach the network, and their absence does, too."""

import numpy as np
import pytest
import torch

from avse.evaluation.lips import mouth_track
from avse.evaluation.network import NetworkSystem, open_networks, prepared_clip
from models.registry import build
from models.weights import BundleSpec, save_bundle
from preprocessing.types import MouthTrack, Waveform


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> NetworkSystem:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("bundles") / "fresh"
    module = build("avse_net", {})
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    save_bundle(folder, BundleSpec("fresh", "enhancement", "avse_net", {}, {}, {}), module)
    return open_networks([str(folder)], "cpu")[0]


def mouth(seed: int) -> MouthTrack:
    crops = np.random.default_rng(seed).integers(0, 255, (15, 122, 122), np.uint8)
    return mouth_track(crops, np.ones(15, bool))


def test_the_crops_change_the_sound(system: NetworkSystem) -> None:
    samples = np.random.default_rng(0).standard_normal(9_500).astype(np.float32) * 0.1
    noisy = Waveform(samples, 16_000, 0.25)
    heard = [system.enhance(noisy, view) for view in (mouth(1), mouth(1), mouth(2), None)]
    assert {sound.n_samples for sound in heard} == {9_500}
    assert np.array_equal(heard[0].samples, heard[1].samples)
    assert not np.array_equal(heard[0].samples, heard[2].samples)
    assert not np.array_equal(heard[0].samples, heard[3].samples)
    assert system.sees
    assert system.label.startswith("fresh@")


def test_the_prepared_clip_has_one_face_or_none() -> None:
    noisy = Waveform(np.zeros(9_600, np.float32), 16_000, 0.25)
    seen = prepared_clip(noisy, mouth(0))
    assert seen.mouths[1].start_s == 0.25
    assert len(seen.tracks) == 1
    hidden = mouth_track(np.zeros((15, 122, 122), np.uint8), np.zeros(15, bool))
    assert prepared_clip(noisy, hidden).tracks == ()
    assert prepared_clip(noisy, None).mouths == {}


def test_names_of_bundles(system: NetworkSystem) -> None:
    assert system.name == "fresh"
