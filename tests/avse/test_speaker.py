"""Whose lips move with the sound: tones instead of words, grey levels instead of lips."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from avse.lip_agreement import LagCurve, SpeakerConfig, lag_curve
from avse.speaker import choose_speaker, expected_offset, score_tracks, shift_mouth
from preprocessing.errors import FaceNotFound
from preprocessing.spectral import log_mel, stft
from preprocessing.target import FaceChoiceInvalid
from preprocessing.types import FaceTrack, MouthTrack, PreparedClip, SourceInfo, Waveform

STEP = 640
TONES_HZ = np.geomspace(200, 6000, 12)


def tone(index):
    return 0.3 * np.sin(2 * np.pi * TONES_HZ[index] * np.arange(STEP) / 16000)


class ToneReader(nn.Module):
    """One-hot embeddings: which tone sounds, which of twelve grey levels the crop has."""

    def __init__(self):
        super().__init__()
        bands = [self._band(torch.from_numpy(tone(i)).float()[None]) for i in range(len(TONES_HZ))]
        self.bands = torch.cat(bands)[:, 0]
        self.longest = 0

    @staticmethod
    def _band(samples):
        mel = log_mel(stft(samples).abs())
        return mel.unflatten(1, (-1, 4))[:, :, 1:3].mean(2).argmax(2)

    def embed_video(self, crops):
        assert crops.dtype == torch.uint8
        assert crops.shape[2:] == (112, 112)
        self.longest = max(self.longest, crops.shape[1])
        levels = crops.float().mean((2, 3)).div(20).round().long() - 1
        return nn.functional.one_hot(levels.clamp(0), len(TONES_HZ)).float()

    def embed_audio(self, log_mel):
        band = log_mel.unflatten(1, (-1, 4))[:, :, 1:3].mean(2).argmax(2)
        nearest = (band[..., None] - self.bands).abs().argmin(2)
        return nn.functional.one_hot(nearest, len(TONES_HZ)).float()


def words(n_frames, seed=0):
    return np.random.default_rng(seed).integers(0, len(TONES_HZ), n_frames)


def voice(tones):
    return Waveform(np.concatenate([tone(i) for i in tones]).astype(np.float32), 16000)


def mouth(tones, late_frames=0, visible=slice(None)):
    levels = np.roll((tones + 1) * 20, late_frames).astype(np.uint8)
    crops = np.broadcast_to(levels[:, None, None], (len(levels), 122, 122)).copy()
    is_visible = np.zeros(len(levels), np.bool_)
    is_visible[visible] = True
    crops[~is_visible] = 0
    points = np.where(is_visible[:, None, None], 1.0, np.nan) * np.ones((len(levels), 20, 2))
    return MouthTrack(crops, is_visible, 0.0, points.astype(np.float32))


def clip(audio, *mouths, sizes=None):
    n_frames = len(mouths[0].crops) if mouths else 0
    tracks = []
    for i in range(len(mouths)):
        side = sizes[i] if sizes else 50
        box = np.tile(np.array([0, 0, side, side], np.float32), (n_frames, 1))
        index = np.arange(n_frames, dtype=np.int64)
        tracks.append(FaceTrack(i + 1, index, index / 25, box, np.ones(n_frames, np.float32)))
    source = SourceInfo(Path("made.mp4"), "mp4", 16000, 1, 1, True, 25.0)
    return PreparedClip(audio, tuple(tracks), dict(enumerate(mouths, 1)), source, n_frames)


@pytest.fixture(scope="module")
def reader():
    return ToneReader()


def test_the_face_that_moves_with_the_sound_is_chosen_though_it_is_smaller(reader):
    tones = words(100)
    prepared = clip(voice(tones), mouth(words(100, 1)), mouth(tones), sizes=[90, 40])
    (choice,) = choose_speaker(prepared, "auto", reader)
    assert choice.track_id == 2
    assert choice.score > 0.8
    assert choice.offset_frames == pytest.approx(0, abs=0.1)
    assert "agree" in choice.why
    scores = score_tracks(prepared, reader)
    assert abs(scores[1].score) < 0.2
    assert scores[1].confidence < 1 < scores[2].confidence


@pytest.mark.parametrize("late_frames", [-15, -7, 2, 5, 15])
def test_an_offset_is_found_and_mended(reader, late_frames):
    tones = words(150)
    prepared = clip(voice(tones), mouth(tones, late_frames))
    (choice,) = choose_speaker(prepared, "auto", reader)
    assert choice.offset_frames == pytest.approx(late_frames, abs=0.1)
    assert choice.score > 0.8
    mended = shift_mouth(prepared.mouths[1], round(choice.offset_frames))
    inside = slice(20, -20)
    np.testing.assert_array_equal(mended.crops[inside, 0, 0], (tones[inside] + 1) * 20)


@pytest.mark.parametrize("late_frames", [-2, -1, 1, 2])
def test_a_small_offset_is_mended_in_a_clip_of_a_second_too(reader, late_frames):
    tones = words(30)
    (choice,) = choose_speaker(clip(voice(tones), mouth(tones, late_frames)), "auto", reader)
    assert choice.offset_frames == pytest.approx(late_frames, abs=0.25)


def test_where_nothing_is_measured_habit_decides():
    config = SpeakerConfig()
    lags = np.arange(-8, 9)
    flat = LagCurve(lags, np.full(17, 6.0), np.full(17, 30.0))
    assert expected_offset(flat, 0, config) == pytest.approx(0, abs=1e-6)
    assert expected_offset(flat, 5, config) == pytest.approx(5, abs=1e-6)
    assert expected_offset(LagCurve(lags, np.zeros(17), np.zeros(17)), 5, config) == 5
    weak = LagCurve(lags, 1.0 * (lags == 2), np.full(17, 30.0))
    sure = LagCurve(lags, 20.0 * (lags == 2), np.full(17, 30.0))
    found = [expected_offset(curve, 0, config) for curve in (weak, sure)]
    assert 0 < found[0] < 1 < found[1] < 2.1


def test_a_large_offset_that_is_unsure_is_not_mended(reader):
    prepared = clip(voice(words(100)), mouth(words(100, 1)))
    (choice,) = choose_speaker(prepared, "auto", reader)
    assert abs(choice.offset_frames) < SpeakerConfig().fine_frames
    assert choice.confidence < 1
    assert abs(choice.score) < 0.25


def test_a_stretch_of_a_second_is_too_short_for_a_large_offset(reader):
    tones = words(40)
    (choice,) = choose_speaker(clip(voice(tones), mouth(tones, 5)), "auto", reader)
    assert choice.confidence == 0
    assert abs(choice.offset_frames) < SpeakerConfig().fine_frames


def test_all_faces_share_the_offset_of_the_surest(reader):
    tones = words(120)
    prepared = clip(voice(tones), mouth(tones, 4), mouth(words(120, 1)))
    choices = choose_speaker(prepared, "all", reader)
    assert [choice.track_id for choice in choices] == [1, 2]
    assert choices[0].offset_frames == pytest.approx(4, abs=0.1)
    assert choices[1].offset_frames == pytest.approx(4, abs=SpeakerConfig().fine_frames)


def test_named_faces_need_no_network_and_wrong_names_raise(reader):
    tones = words(60)
    prepared = clip(voice(tones), mouth(tones), mouth(tones), sizes=[20, 80])
    assert choose_speaker(prepared, "1")[0].why == "asked for"
    assert choose_speaker(prepared, "largest")[0].track_id == 2
    assert choose_speaker(prepared, "auto")[0].score is None
    assert choose_speaker(prepared, "0,0,20,20@1", reader)[0].track_id == 1
    with pytest.raises(FaceNotFound):
        choose_speaker(prepared, "3", reader)
    with pytest.raises(FaceChoiceInvalid):
        choose_speaker(prepared, "3,", reader)


def test_no_face_gives_no_choice_and_a_hidden_mouth_no_score(reader):
    tones = words(60)
    assert choose_speaker(clip(voice(tones)), "auto", reader) == []
    hidden = clip(voice(tones), mouth(tones, visible=slice(0, 5)))
    (choice,) = choose_speaker(hidden, "auto", reader)
    assert choice.score is None
    assert choice.offset_frames == 0


def test_a_mouth_visible_in_parts_is_scored_on_them(reader):
    tones = words(200)
    shown = mouth(tones, visible=slice(90, 160))
    score = score_tracks(clip(voice(tones), shown), reader)[1]
    assert score.score > 0.8
    assert score.n_frames == 70


def test_long_clips_are_sampled_in_bounded_windows(reader):
    tones = words(2000)
    reader.longest = 0
    curve = lag_curve(voice(tones), mouth(tones), reader, SpeakerConfig(), 400)
    assert curve.n_frames == 400
    assert reader.longest <= SpeakerConfig().window_frames
    assert curve.lags[curve.means.argmax()] == 0


def test_sound_shorter_than_the_picture_grid_is_padded(reader):
    tones = words(50)
    audio = Waveform(voice(tones).samples[: 49 * STEP + 100], 16000)
    assert score_tracks(clip(audio, mouth(tones)), reader)[1].score > 0.8


@pytest.mark.parametrize("offset", [0, 3, -3, 70, -70])
def test_shifting_moves_everything_and_what_moves_in_is_invisible(offset):
    shown = mouth(words(60))
    moved = shift_mouth(shown, offset)
    assert moved.is_visible.sum() == max(0, 60 - abs(offset))
    assert not moved.crops[~moved.is_visible].any()
    assert np.isnan(moved.landmarks_px[~moved.is_visible]).all()
    back = shift_mouth(moved, -offset)
    np.testing.assert_array_equal(back.crops[back.is_visible], shown.crops[back.is_visible])


def test_part_of_a_frame_is_left_to_the_features():
    shown = mouth(words(60))
    moved = shift_mouth(shown, -1.75)
    assert moved.lag_frames == pytest.approx(-0.75)
    np.testing.assert_array_equal(moved.crops, shift_mouth(shown, -1).crops)
    assert shift_mouth(shown, 0.9).crops is shown.crops
    with pytest.raises(ValueError, match="lag_frames"):
        replace(shown, lag_frames=1.25)


def test_crops_in_a_file_are_shifted_into_a_file(tmp_path):
    shown = mouth(words(60))
    on_disk = np.memmap(tmp_path / "crops", np.uint8, mode="w+", shape=shown.crops.shape)
    on_disk[:] = shown.crops
    filed = MouthTrack(on_disk, shown.is_visible, 0.0, shown.landmarks_px)
    moved = shift_mouth(filed, 2)
    assert isinstance(moved.crops, np.memmap)
    np.testing.assert_array_equal(moved.crops, shift_mouth(shown, 2).crops)
