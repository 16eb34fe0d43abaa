"""Calls that wait: enhancement, faces, evaluation; the recognition heads that are not there."""

import threading
import time

import httpx
import pytest

from tests.server.conftest import Running, Start

URL = "/v1/audio/enhancements"


def is_clean(running: Running) -> bool:
    """Whether nothing is left; what happens after the answer may take a moment."""
    for _ in range(500):
        if not running.service.spool.job_ids() and not running.service.store.all_ids():
            return True
        time.sleep(0.02)
    return False


def test_a_clip_becomes_a_voice_and_nothing_stays_behind(running: Running) -> None:
    answer = running.post(URL, name="../../etc/my clip.mp4", mode="auto", strength="0.5")
    assert answer.status_code == 200, answer.text
    assert answer.content[:4] == b"RIFF"
    assert answer.headers["content-type"] == "audio/wav"
    assert answer.headers["avse-mode"] == "audio_only"
    assert answer.headers["avse-fallback-reason"] == "no_video"
    assert "queue;dur=" in answer.headers["server-timing"]
    assert "attachment" in answer.headers["content-disposition"]
    assert "my%20clip-enhanced.wav" in answer.headers["content-disposition"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-request-id"]
    options = running.worker.seen[0].options
    assert options["strength"] == 0.5
    assert options["sample_rate"] == 16000
    assert options["model"] == running.service.catalogue.default_id
    assert is_clean(running)


def test_video_comes_back_as_video(running: Running) -> None:
    answer = running.post(URL, output="mp4")
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-disposition"] == 'attachment; filename="clip-enhanced.mp4"'


def test_a_preference_makes_it_a_job(running: Running) -> None:
    answer = running.post(URL, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    assert running.ended(answer.json()["id"])["status"] == "succeeded"


@pytest.mark.parametrize(
    ("code", "status"),
    [("no_audio", 422), ("unsupported_container", 415), ("decode_timeout", 422), ("strange", 500)],
)
def test_failures_have_their_status(running: Running, code: str, status: int) -> None:
    answer = running.post(URL, f"FAIL {code}".encode())
    assert answer.status_code == status
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["code"] == ("internal" if code == "strange" else code)
    assert problem["error"]["code"] == problem["code"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert is_clean(running)


def test_a_dead_worker_is_told_at_once(running: Running) -> None:
    answer = running.post(URL, b"DIE")
    assert answer.status_code == 503
    assert answer.json()["code"] == "worker_lost"
    assert answer.headers["retry-after"]
    assert is_clean(running)


def test_what_takes_too_long_ends(start: Start) -> None:
    running = start(sync_timeout_s=0.3)
    answer = running.post(URL, b"SLOW 60")
    assert answer.status_code == 504
    assert answer.json()["code"] == "sync_timeout"
    assert is_clean(running)


def test_a_client_that_leaves_takes_its_job_with_it(running: Running) -> None:
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"http://127.0.0.1:{running.port}{URL}",
            files={"file": ("a", b"SLOW 60")},
            timeout=httpx.Timeout(30, read=1),
        )
    assert is_clean(running)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"strength": "nan"}, "strength"),
        ({"strength": "1.5"}, "strength"),
        ({"strength": "inf"}, "strength"),
        ({"mode": "loud"}, "mode"),
        ({"face": "0,0,10@1"}, "face"),
        ({"face": "nan,0,1,1@0"}, "face"),
        ({"output": "exe"}, "output"),
        ({"sample_rate": "44100"}, "sample_rate"),
        ({"audio_track": "-1"}, "audio_track"),
        ({"start": "3", "end": "2"}, "end"),
        ({"end": "1e400"}, "end"),
    ],
)
def test_values_are_checked(running: Running, fields: dict[str, str], param: str) -> None:
    answer = running.post(URL, **fields)
    assert answer.status_code == 422
    assert answer.json()["code"] == "invalid_request"
    assert answer.json()["param"] == param
    assert is_clean(running)


def test_unknown_fields_models_and_empty_files(running: Running) -> None:
    assert running.post(URL, colour="red").json()["param"] == "colour"
    assert running.post(URL, colour="red").status_code == 400
    unknown = running.post(URL, model="nothing")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "model_not_found")
    assert running.post(URL, model="lip-sync").status_code == 404
    empty = running.post(URL, b"")
    assert (empty.status_code, empty.json()["code"]) == (422, "undecodable")
    assert is_clean(running)


@pytest.mark.parametrize("face", ["largest", "3", "10,20,30.5,40@1.25"])
def test_faces_can_be_chosen(running: Running, face: str) -> None:
    assert running.post(URL, face=face).status_code == 200
    assert running.worker.seen[0].options["face"] == face


def test_a_full_queue_says_so_and_when_to_come_back(start: Start) -> None:
    running = start(max_queued=1)
    running.worker.pause()
    running.job()
    for path in (URL, "/v1/jobs", "/v1/faces"):
        refused = running.post(path)
        assert (refused.status_code, refused.json()["code"]) == (503, "queue_full")
        assert int(refused.headers["retry-after"]) > 0
    assert len(running.service.spool.job_ids()) == 1


def test_calls_that_wait_are_few_and_make_room_again(start: Start) -> None:
    running = start(max_sync=1)
    running.worker.pause()
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(running.post(URL).status_code))
    thread.start()
    while running.service.store.n_queued() < 1:
        time.sleep(0.01)
    for path in (URL, "/v1/faces"):
        refused = running.post(path)
        assert (refused.status_code, refused.json()["code"]) == (503, "queue_full")
        assert int(refused.headers["retry-after"]) > 0
    assert running.post("/v1/jobs").status_code == 202
    running.worker.go_on()
    thread.join()
    assert answers == [200]
    assert running.post(URL, b"FAIL no_audio").status_code == 422
    assert running.post(URL, speed="2").status_code == 400
    assert running.post(URL).status_code == 200


def test_one_key_cannot_take_the_whole_queue(start: Start) -> None:
    running = start(max_jobs_per_key=1)
    running.worker.pause()
    running.job()
    refused = running.post("/v1/jobs")
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert refused.headers["retry-after"]


def test_without_a_warm_model_process_calls_do_not_wait(start: Start) -> None:
    running = start()
    running.worker.__exit__(None, None, None)
    running.service.store.forget_worker("fake")
    answer = running.post(URL)
    assert (answer.status_code, answer.json()["code"]) == (503, "model_loading")
    assert running.post("/v1/jobs").status_code == 202


def test_waiting_calls_overtake_jobs(running: Running) -> None:
    running.worker.pause()
    job = running.job()
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(running.post(URL).status_code))
    thread.start()
    while running.service.store.n_queued() < 2:
        time.sleep(0.01)
    running.worker.go_on()
    thread.join()
    running.ended(job["id"])
    assert answers == [200]
    assert [seen.is_sync for seen in running.worker.seen] == [True, False]


def test_faces(running: Running) -> None:
    answer = running.post("/v1/faces")
    track = answer.json()["tracks"][0]
    assert track["bbox"] == [1.0, 2.0, 3.0, 4.0]
    assert track["thumbnail"].startswith("data:image/jpeg;base64,/9j/")
    without = running.post("/v1/faces", thumbnails="false").json()
    assert without["tracks"][0]["thumbnail"] is None
    assert running.post("/v1/faces", thumbnails="perhaps").status_code == 422
    later = running.post("/v1/faces", headers={"Prefer": "respond-async"})
    assert running.ended(later.json()["id"])["result"]["tracks"][0]["thumbnail"]


def test_evaluation(running: Running) -> None:
    files = {"reference": ("r.wav", b"r"), "estimate": ("e.wav", b"e")}
    answer = running.client.post("/v1/evaluations", files=files)
    assert answer.json()["pesq"] == 2.0
    assert answer.json()["noisy"] is None
    with_noisy = {**files, "noisy": ("n.wav", b"n")}
    assert running.client.post("/v1/evaluations", files=with_noisy).json()["noisy"]["stoi"] == 0.9
    missing = running.client.post("/v1/evaluations", files={"reference": ("r.wav", b"r")})
    assert (missing.status_code, missing.json()["param"]) == (400, "estimate")
    assert is_clean(running)


def test_recognition_heads_are_not_there(running: Running) -> None:
    for path in ("/v1/gestures", "/v1/actions"):
        answer = running.post(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "head_not_configured")
    for kind in ("gestures", "actions"):
        answer = running.post("/v1/jobs", kind=kind)
        assert (answer.status_code, answer.json()["code"]) == (404, "head_not_configured")
