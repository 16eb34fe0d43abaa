"""The corpus of bad and odd files through a running service: every process of it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import av
import httpx
import pytest

from server.errors import CODES
from tests.server.corpus import CASES, Case, Corpus, Trap
from tests.server.corpus.stopwatch import Stopwatch

PATIENCE_S = 300.0
N_AT_ONCE = 3
EVERY = 1 if os.environ.get("AVSE_WHOLE_CORPUS") else 10
ENHANCE = "/v1/audio/enhancements"
FACES = "/v1/faces"
TALKING = Path(__file__).parents[2] / "server" / "web" / "samples" / "talking.mp4"
NEVER = ("internal", "worker_lost", "sync_timeout", "decode_timeout")
FEW = (
    "empty", "random", "truncated_mp4", "flipped_40_mkv", "m3u8_to_http", "ffconcat_to_http",
    "sdp_to_udp", "pickle", "no_sound_mp4", "tracks_60", "fps_1000", "size_16384x8192_h264",
    "sound_of_24_h_flac", "aac_7_1", "nan", "one_picture", "rotated_90",
    "sound_with_a_picture_name",
)  # fmt: skip
"""Cases of every kind for the quick run."""


@dataclass(frozen=True, slots=True)
class Running:
    """A service in processes of its own."""

    web: httpx.Client
    spool: Path
    serving: subprocess.Popen[bytes]


@pytest.fixture(scope="module")
def trap() -> Iterator[Trap]:
    trap = Trap()
    yield trap
    trap.close()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, trap: Trap) -> Corpus:
    return Corpus(tmp_path_factory.mktemp("corpus"), trap)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("service")
    spool, port = folder / "spool", _free_port()
    settings = {
        "AVSE_SPOOL_DIR": str(spool),
        "AVSE_DEVICE": "cpu",
        "AVSE_MIN_FREE_BYTES": "0",
        "AVSE_SYNC_TIMEOUT_S": "280",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "avse", "serve", "--port", str(port)]
    log_path = folder / "log"
    with log_path.open("wb") as log:
        serving = subprocess.Popen(command, env={**os.environ, **settings}, stdout=log, stderr=log)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as web:
        try:
            _wait_for(lambda: _is_ready(web, serving, log_path))
            yield Running(web, spool, serving)
        finally:
            serving.send_signal(signal.SIGTERM)
            serving.wait(PATIENCE_S)


@pytest.fixture(scope="module")
def talking(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first second of the page's sample, which has faces."""
    path = tmp_path_factory.mktemp("talking") / "clip.mp4"
    with av.open(str(TALKING)) as source, av.open(str(path), "w") as short:
        streams = {
            stream.index: short.add_stream_from_template(stream) for stream in source.streams
        }
        for packet in source.demux():
            if packet.size and packet.dts * packet.time_base < 1:
                packet.stream = streams[packet.stream.index]
                short.mux(packet)
    return path


@pytest.fixture(scope="module")
def stopwatch(request: pytest.FixtureRequest) -> Iterator[Stopwatch]:
    stopwatch = Stopwatch()
    yield stopwatch
    stopwatch.show("media corpus through the service", request.config)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(is_true: Callable[[], bool]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < end_s, "it takes too long"
        time.sleep(0.1)


def _is_ready(web: httpx.Client, serving: subprocess.Popen[bytes], log_path: Path) -> bool:
    assert serving.poll() is None, log_path.read_text(errors="replace")
    try:
        return web.get("/v1/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def _answer(
    service: Running, case: Case, path: Path, address: str = ENHANCE, **fields: str
) -> httpx.Response:
    with path.open("rb") as clip:
        return service.web.post(
            address,
            files={"file": (path.name, clip)},
            data={"audio_track": str(case.audio_track), **fields},
        )


def _fault(case: Case, answer: httpx.Response, service: Running) -> str:
    """What is wrong with an answer, nothing if it is as documented."""
    if not answer.headers.get("x-request-id"):
        return "no X-Request-Id"
    if answer.status_code == 200:
        is_sound = answer.content[:4] == b"RIFF" and answer.headers.get("avse-mode")
        return "" if case.is_fine and is_sound else "should have been refused"
    if answer.headers["content-type"].split(";")[0] != "application/problem+json":
        return "not a problem"
    code = answer.json()["code"]
    if code not in case.codes or answer.status_code != CODES[code][0]:
        return f"{answer.status_code} {code}: {answer.json()['detail']}"
    if str(service.spool) in answer.text:
        return "names a path of the server"
    return ""


def _run(
    cases: list[Case], service: Running, corpus: Corpus, stopwatch: Stopwatch
) -> dict[str, str]:
    """Faults by case, of those that have one."""

    def fault_of(case: Case, path: Path) -> str:
        with stopwatch.running(case.name):
            answer = _answer(service, case, path)
        return _fault(case, answer, service)

    paths = [corpus.path(case) for case in cases]
    with ThreadPoolExecutor(N_AT_ONCE) as pool:
        faults = pool.map(fault_of, cases, paths)
        return {case.name: fault for case, fault in zip(cases, faults, strict=True) if fault}


def _check_left_over(service: Running, corpus: Corpus, trap: Trap) -> None:
    _wait_for(lambda: not list(service.spool.glob("job_*")))
    assert trap.seen() == []
    assert not corpus.marker.exists()
    assert service.web.get("/v1/health/ready").status_code == 200


def test_some_cases_are_answered_as_documented(service, corpus, trap, stopwatch):
    assert _run([CASES[name] for name in FEW], service, corpus, stopwatch) == {}
    _check_left_over(service, corpus, trap)


@pytest.mark.slow
def test_every_case_is_answered_as_documented(service, corpus, trap, stopwatch):
    """Every tenth case, unless the environment asks for all: they take minutes."""
    assert _run(list(CASES.values())[::EVERY], service, corpus, stopwatch) == {}
    _check_left_over(service, corpus, trap)


CHOICES = (
    (ENHANCE, {"output": "mp4", "sample_rate": "input"}),
    (ENHANCE, {"output": "flac", "sample_rate": "input", "start": "0.05", "end": "0.3"}),
    (ENHANCE, {"output": "mp3", "mode": "av"}),
    (FACES, {}),
)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(CHOICES)))
def test_odd_clips_fare_no_worse_with_other_choices(service, corpus, trap, stopwatch, number):
    """Each odd clip meets one of the choices, if every case is asked for."""
    address, fields = CHOICES[number]
    faults = {}
    fine = [case for case in CASES.values() if case.is_fine]
    cases = fine[number :: len(CHOICES)][::EVERY]
    for case in cases:
        with stopwatch.running(f"{case.name} {address} {fields}"):
            answer = _answer(service, case, corpus.path(case), address, **fields)
        if answer.status_code != 200:
            code = answer.json()["code"]
            if code in NEVER or answer.status_code != CODES[code][0]:
                faults[case.name] = f"{answer.status_code} {answer.json()['detail']}"
    assert faults == {}
    _check_left_over(service, corpus, trap)


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"face": "9999"}, "face_not_found"),
        ({"face": "0,0,2,2@0"}, "face_not_found"),
        ({"face": "99999,99999,99999,99999@99999"}, "face_not_found"),
        ({"audio_track": "5"}, "no_audio"),
        ({"start": "86000"}, "too_short"),
        ({"start": "0.5", "end": "0.51"}, "too_short"),
        ({"start": "0.5", "end": "0.54", "strength": "0"}, ""),
        ({"end": "86400", "output": "mp4", "mode": "audio_only"}, ""),
        ({"start": "0.2", "end": "0.8", "output": "opus", "mode": "av", "face": "1"}, ""),
    ],
)
def test_choices_that_a_talking_clip_can_or_cannot_fulfil(service, talking, fields, code):
    with talking.open("rb") as clip:
        answer = service.web.post(ENHANCE, files={"file": clip}, data=fields)
    if code:
        assert (answer.json()["code"], answer.status_code) == (code, CODES[code][0])
    else:
        assert answer.status_code == 200, answer.text


ODD_SOUNDS = (
    "silence", "all_nan", "absurdly_loud", "denormal", "constant", "one_sample", "one_window",
    "no_sample", "channels_cancel", "rate_768000_hz", "random", "no_sound_mp4", "tracks_60",
    "sound_of_61_s",
)  # fmt: skip


def test_odd_sounds_are_scored_or_refused(service, corpus, trap):
    good = corpus.path(CASES["pcm_64_bit"]).read_bytes()
    for name in ODD_SOUNDS:
        odd = corpus.path(CASES[name]).read_bytes()
        for reference, estimate, noisy in ((good, odd, odd), (odd, odd, good)):
            files = {"reference": reference, "estimate": estimate, "noisy": noisy}
            answer = service.web.post("/v1/evaluations", files=files)
            if answer.status_code != 200:
                code = answer.json()["code"]
                assert code not in NEVER, name
                assert answer.status_code == CODES[code][0], name
    _check_left_over(service, corpus, trap)


def test_the_service_ends_in_good_order(service):
    service.serving.send_signal(signal.SIGTERM)
    assert service.serving.wait(PATIENCE_S) == 0
