"""Bad and odd files as a recognition head reads them: streams, or a refusal with a public code."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from preprocessing.errors import MediaError
from preprocessing.stream_config import StreamConfig
from server.errors import CODES
from server.recognition import leave_streams
from server.spool import INPUT
from server.streams_file import STREAMS, read_streams
from tests.server.corpus import CASES, SERVICE_LIMITS, Case, Corpus, Trap
from tests.server.head_parts import tiny_heads

EVERY = 1 if os.environ.get("AVSE_WHOLE_CORPUS") else 12
CHOSEN = list(CASES.values())[::EVERY]
CONFIG = StreamConfig(n_frames=8, size_px=32)


@pytest.fixture(scope="module")
def trap() -> Iterator[Trap]:
    trap = Trap()
    yield trap
    trap.close()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, trap: Trap) -> Corpus:
    return Corpus(tmp_path_factory.mktemp("corpus"), trap)


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_heads(tmp_path_factory.mktemp("heads"))["gesture_model"]


@pytest.mark.parametrize("case", CHOSEN, ids=lambda case: case.name)
def test_is_read_or_refused(case: Case, corpus: Corpus, head: str, tmp_path: Path) -> None:
    (tmp_path / INPUT).symlink_to(corpus.path(case))
    refusal = _refusal(tmp_path, head)
    if refusal is None:
        found = read_streams(tmp_path / STREAMS, CONFIG)
        assert len(found.times_s) <= SERVICE_LIMITS.max_duration_s * CONFIG.fps + 2
        return
    assert refusal.code in CODES
    assert str(tmp_path) not in refusal.expected + refusal.found
    assert not (case.is_fine and case.has_video), refusal
    assert not (tmp_path / STREAMS).exists()


def _refusal(folder: Path, head: str) -> MediaError | None:
    try:
        leave_streams(folder, {"bundle": head}, SERVICE_LIMITS, lambda *_: None)
    except MediaError as error:
        return error
    return None


def test_nothing_was_asked_for_and_nothing_was_run(corpus: Corpus, trap: Trap) -> None:
    assert trap.seen() == []
    assert not corpus.marker.exists()
