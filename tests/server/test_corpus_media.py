"""The corpus of bad and odd files through `prepare`: each is read, or refused as documented."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from preprocessing.errors import MediaError, OutputError
from preprocessing.media import open_clip, open_frames, read_audio, remux_with_audio
from preprocessing.mouth import load_mouth_landmarks
from preprocessing.pipeline import PipelineConfig, Tools, prepare
from preprocessing.types import Detections, PreparedClip
from tests.server.corpus import CASES, SERVICE_LIMITS, Case, Corpus, Trap
from tests.server.corpus.stopwatch import Stopwatch

N_CASES_PROMISED = 90
MOVING = [case for case in CASES.values() if case.is_fine and case.has_video]


class EverywhereDetector:
    """Finds one face that is larger than the picture, whatever its size."""

    name = "everywhere"

    def detect(self, images: Sequence[NDArray[np.uint8]]) -> list[Detections]:
        return [self._whole(*image.shape[:2]) for image in images]

    def _whole(self, height: int, width: int) -> Detections:
        box = np.array([[-3.0, -3.0, width + 3.0, height + 3.0]], np.float32)
        return Detections(box, np.ones(1, np.float32))


@pytest.fixture(scope="module")
def trap() -> Iterator[Trap]:
    trap = Trap()
    yield trap
    trap.close()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, trap: Trap) -> Corpus:
    return Corpus(tmp_path_factory.mktemp("corpus"), trap)


@pytest.fixture(scope="module")
def tools() -> Tools:
    return Tools(EverywhereDetector(), load_mouth_landmarks())


@pytest.fixture(scope="module")
def stopwatch(request: pytest.FixtureRequest) -> Iterator[Stopwatch]:
    stopwatch = Stopwatch()
    yield stopwatch
    stopwatch.show("media corpus", request.config)


def test_corpus_is_as_large_as_promised():
    assert len(CASES) >= N_CASES_PROMISED
    assert all(case.errors or case.is_fine for case in CASES.values())


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_is_read_or_refused_as_documented(case, corpus, tools, stopwatch):
    path = corpus.path(case)
    config = PipelineConfig(limits=SERVICE_LIMITS, audio_track=case.audio_track)
    with stopwatch.running(case.name):
        clip = _clip_or_error(path, config, tools)
    if isinstance(clip, MediaError):
        assert isinstance(clip, case.errors), clip
        assert str(path.parent) not in clip.expected + clip.found
    else:
        _check(case, clip)


def _clip_or_error(path: Path, config: PipelineConfig, tools: Tools) -> PreparedClip | MediaError:
    try:
        return prepare(path, config, tools=tools)
    except MediaError as error:
        return error


def _check(case: Case, clip: PreparedClip) -> None:
    assert case.is_fine, f"read: {clip.source}"
    assert np.isfinite(clip.audio.samples).all()
    assert clip.audio.sample_rate_hz == 16_000
    assert clip.audio.duration_s <= SERVICE_LIMITS.max_duration_s
    assert all(len(mouth.crops) == len(mouth.is_visible) for mouth in clip.mouths.values())
    assert case.has_video in (None, clip.source.has_video)
    assert case.duration_s is None or clip.audio.duration_s == pytest.approx(
        case.duration_s, abs=0.06
    )
    assert case.n_pictures in (None, clip.n_video_frames)
    assert case.warning in " ".join(clip.source.warnings)
    if case.check is not None:
        case.check(clip)


@pytest.mark.parametrize("case", MOVING, ids=lambda case: case.name)
def test_new_sound_goes_under_the_picture_or_is_refused(case, corpus, tmp_path):
    path = corpus.path(case)
    sound = read_audio(path)
    n_pictures = sum(1 for _ in open_frames(path))
    for suffix in (".mkv", ".mp4"):
        out_path = tmp_path / f"out{suffix}"
        with contextlib.suppress(OutputError):
            remux_with_audio(path, sound, out_path)
        if not out_path.exists():
            assert list(tmp_path.iterdir()) == []
            continue
        clip = open_clip(out_path)
        assert clip.audio.duration_s == pytest.approx(sound.duration_s, abs=0.15)
        assert abs(sum(1 for _ in clip.video) - n_pictures) <= 1
        out_path.unlink()


def test_nothing_was_asked_for_and_nothing_was_run(corpus, trap):
    for case in CASES.values():
        assert corpus.path(case).is_file()
    assert trap.seen() == []
    assert not corpus.marker.exists()
