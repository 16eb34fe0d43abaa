"""What is done to cached lip features on their way into a mixture."""

import numpy as np

from avse.training.features import features_between, with_noise


def test_between_two_frames_lies_their_mixture() -> None:
    features = np.array([[0.0], [1.0], [4.0]], np.float16)
    between = features_between(features, np.array([0.0, 0.5, 1.25, 2.0]))
    np.testing.assert_allclose(between[:, 0], [0.0, 0.5, 1.75, 4.0])


def test_noise_follows_each_feature_and_zero_is_none() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(0, (0.1, 10.0), (5000, 2)).astype(np.float32)
    noise = with_noise(features, 0.3, rng) - features
    np.testing.assert_allclose(noise.std(0), [0.03, 3.0], rtol=0.05)
    assert with_noise(features, 0.0, rng) is features
