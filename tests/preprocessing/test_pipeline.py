"""Made clips through the whole preprocessing, with painted faces and the shipped landmarks."""

from pathlib import Path

import numpy as np
import pytest

from preprocessing import pipeline
from preprocessing.errors import MissingFile
from preprocessing.media import write_audio
from preprocessing.media_make import make_clip
from preprocessing.mouth import load_mouth_landmarks
from preprocessing.pipeline import PipelineConfig, Tools, prepare, prepare_faces_only
from preprocessing.tracking import TrackingConfig
from preprocessing.types import Waveform
from tests.preprocessing.scripted_faces import ScriptedDetector, paint, scenery

SECONDS = 1.6
SIZE_PX = (320, 240)


def hum(seconds=SECONDS):
    t = np.arange(round(seconds * 16000)) / 16000
    return Waveform((0.2 * np.sin(2 * np.pi * 220 * t)).astype(np.float32), 16000)


def pictures(*faces, cut_at=None):
    for index in range(40):
        image = scenery(*SIZE_PX, seed=7 if cut_at is not None and index >= cut_at else 1)
        for box, first, last in faces:
            if first <= index < last:
                image = paint(image, np.array(box) + index % 3)
        yield image


@pytest.fixture(scope="module")
def landmarks():
    return load_mouth_landmarks()


@pytest.fixture
def tools(landmarks):
    return Tools(ScriptedDetector(), landmarks)


@pytest.fixture(scope="module")
def two_people(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "two.mp4"
    faces = (((30, 60, 100, 150), 0, 40), ((230, 50, 280, 110), 15, 40))
    make_clip(path, pictures(*faces), 25, hum())
    return path


def test_every_face_gets_a_track_and_a_mouth_on_the_sounds_grid(two_people, tools):
    calls = []
    prepared = prepare(two_people, progress=lambda *call: calls.append(call), tools=tools)
    assert [track.track_id for track in prepared.tracks] == [1, 2]
    assert set(prepared.mouths) == {1, 2}
    assert prepared.n_video_frames == 40
    for mouth in prepared.mouths.values():
        assert len(mouth.crops) == 40
        assert mouth.start_s == prepared.audio.start_s
    assert prepared.mouths[1].is_visible.all()
    late = prepared.mouths[2].is_visible
    assert not late[:13].any()
    assert late[32:].all()
    assert {call[0] for call in calls} >= {"faces"}
    assert prepared.stage_s.keys() == {"audio", "decode", "detect", "mouth", "track"}
    assert all(seconds >= 0 for seconds in prepared.stage_s.values())


def test_mouths_belong_to_their_tracks_after_false_alarms_and_cuts(tmp_path, tools):
    path = tmp_path / "cut.mp4"
    faces = (((30, 60, 100, 150), 0, 40), ((240, 30, 280, 80), 0, 4))
    make_clip(path, pictures(*faces, cut_at=20), 25, hum())
    prepared = prepare(path, tools=tools)
    assert [track.track_id for track in prepared.tracks] == [1, 2]
    for track in prepared.tracks:
        mouth = prepared.mouths[track.track_id]
        shown = np.flatnonzero(mouth.is_visible)
        # A crop is shown up to 0.1 s beyond the pictures of its face.
        assert abs(shown[0] - track.frame_indices[0]) <= 2
        assert abs(shown[-1] - track.frame_indices[-1]) <= 2
        centre = np.nanmean(mouth.landmarks_px, axis=(0, 1))
        assert 30 <= centre[0] <= 105


def test_sound_alone_gives_no_tracks(tmp_path, tools):
    path = tmp_path / "hum.wav"
    write_audio(path, hum())
    prepared = prepare(path, tools=tools)
    assert prepared.tracks == ()
    assert prepared.mouths == {}
    assert prepared.n_video_frames == 0
    assert prepare_faces_only(path, detector=ScriptedDetector()).tracks == ()


def test_a_picture_without_faces_or_one_to_be_ignored_gives_no_tracks(tmp_path, tools):
    path = tmp_path / "empty.mp4"
    make_clip(path, pictures(), 25, hum())
    assert prepare(path, tools=tools).tracks == ()
    ignored = prepare(path, PipelineConfig(ignores_video=True), tools=tools)
    assert ignored.n_video_frames == 0
    assert ignored.audio.n_samples > 0


def test_only_the_wanted_number_of_faces_is_cropped(two_people, tools):
    config = PipelineConfig(tracking=TrackingConfig(max_tracks=1))
    prepared = prepare(two_people, config, tools=tools)
    assert list(prepared.mouths) == [1]
    assert len(prepared.tracks) == 1


def test_faces_only_gives_a_small_picture_of_each(two_people):
    config = PipelineConfig(thumbnail_px=160)
    found = prepare_faces_only(two_people, config, detector=ScriptedDetector())
    assert [track.track_id for track in found.tracks] == [1, 2]
    for track in found.tracks:
        thumbnail = found.thumbnails[track.track_id]
        assert thumbnail.track_id == track.track_id
        assert thumbnail.image.shape == (120, 160, 3)
        x0, y0, x1, y1 = thumbnail.box_xyxy.round().astype(int)
        face = thumbnail.image[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3].reshape(-1, 3).mean(0)
        assert face[0] > 150 > face[1]
    assert found.n_video_frames == 40


def test_the_networks_are_opened_once(two_people, landmarks, monkeypatch):
    opened = []

    def open_once(*_args, **_options):
        opened.append(1)
        return Tools(ScriptedDetector(), landmarks)

    pipeline._shared_tools.cache_clear()
    monkeypatch.setattr(pipeline, "open_tools", open_once)
    for _ in range(2):
        assert len(prepare(two_people).tracks) == 2
    assert len(opened) == 1
    pipeline._shared_tools.cache_clear()


def test_a_missing_file_is_a_media_error(tools):
    with pytest.raises(MissingFile):
        prepare(Path("nowhere.mp4"), tools=tools)
