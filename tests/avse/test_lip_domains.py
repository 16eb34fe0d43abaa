"""What the mixtures do so that lips filmed otherwise are followed, too."""

import numpy as np
import pytest

from avse.training.features import LipFeatures, mixed_up
from avse.training.mix_config import MixConfig
from avse.training.mixtures import MixtureMaker
from avse.training.sounds import Voice, VoicePool


def of_clips(people: dict[str, list[str]]) -> tuple[LipFeatures, list[Voice]]:
    """Four clips of each person, by corpus; features and samples tell clip and person."""
    names = [(c, name) for c, own in people.items() for name in own for _ in range(4)]
    rng = np.random.default_rng(0)
    n_clips, n_frames = len(names), 10
    bounds = np.arange(n_clips + 1) * n_frames
    values = rng.normal(np.repeat(np.arange(n_clips), n_frames)[:, None], 0.1, (1, bounds[-1], 4))
    lips = LipFeatures(values.astype(np.float16), bounds, np.ones(bounds[-1], np.bool_), (4,))
    sounds = rng.integers(-9000, 9000, (n_clips, n_frames * 640)).astype(np.int16)
    return lips, [Voice(f"{c}/{p}", c, sounds[i], i) for i, (c, p) in enumerate(names)]


def test_the_voices_of_a_corpus_s_only_person() -> None:
    _, voices = of_clips({"news": ["a", "b"], "read": ["c"]})
    assert {v.speaker for v in VoicePool(voices).only_voices()} == {"read/c"}


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_pairs_of_a_corpus_s_only_person_hold_two_of_his_clips(share: float) -> None:
    lips, voices = of_clips({"news": ["a", "b"], "read": ["c"]})
    config = MixConfig(n_frames=6, pair_share=1.0, alone_share=1.0, tempo=0.0, lone_share=share)
    make = MixtureMaker(VoicePool(voices), [], lips, None, config)
    is_read = []
    for seed in range(6):
        clips = make.batch(4, 1, np.random.default_rng(seed)).features.mean((1, 2)).round().int()
        for pair in clips.reshape(2, 2):
            assert pair[0] != pair[1]
            is_read.append(bool((pair >= 8).all()))
    assert all(is_read) == bool(share)


def test_features_are_mixed_the_same_way_for_a_window() -> None:
    rng = np.random.default_rng(0)
    spread = np.array([1, 10, 0.1, 1], np.float32)
    features = (rng.normal(0, 1, (200, 4)) * spread + 5).astype(np.float32)
    assert mixed_up(features, spread, 0.0, rng) is features
    mixed = mixed_up(features, spread, 0.5, np.random.default_rng(1))
    added = mixed - features
    np.testing.assert_allclose(added.mean(0), 0, atol=1e-2)
    moving = features - features.mean(0)
    found, *_ = np.linalg.lstsq(moving, added, rcond=None)
    np.testing.assert_allclose(moving @ found, added, atol=1e-2)
    sizes = [
        (mixed_up(features, spread, 0.5, np.random.default_rng(s)) - features).std(0) / spread
        for s in range(200)
    ]
    np.testing.assert_allclose(np.square(sizes).mean(0), 0.25, rtol=0.3)
