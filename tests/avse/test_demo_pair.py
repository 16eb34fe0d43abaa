"""The made clip of a listener and a speaker: two faces, one voice in noise."""

import numpy as np

from avse.demo import DemoConfig
from avse.demo_pair import make_pair_clip
from preprocessing.faces import make_detector
from preprocessing.media import open_frames, read_audio


def test_two_faces_and_one_voice(tmp_path):
    path = tmp_path / "pair.mp4"
    voice = make_pair_clip(path, DemoConfig(duration_s=1.0, interferer_db=40.0, noise_db=20.0))
    picture = next(iter(open_frames(path))).image
    assert picture.shape == (480, 960, 3)
    found = make_detector("embedded").detect([picture])[0]
    centres = sorted(float(box[0] + box[2]) / 2 for box in found.boxes_xyxy)
    assert len(centres) == 2
    assert centres[0] < 480 < centres[1]
    listener = picture[:, :480].astype(int)
    assert np.abs(listener[..., 0] - listener[..., 2]).mean() < 3
    sound = read_audio(path).samples
    n_samples = min(sound.size, voice.n_samples)
    assert np.corrcoef(sound[:n_samples], voice.samples[:n_samples])[0, 1] > 0.95
