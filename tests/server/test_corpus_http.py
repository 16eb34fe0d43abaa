"""HTTP abuse against the API process: every answer is as documented, and nothing is left behind."""

import json
import re
from collections.abc import Iterator

import pytest

from server.errors import CODES
from tests.server.corpus.http_cases import (
    ENHANCE,
    IDLE_LIMIT_S,
    JOBS,
    SYNC_LIMIT_BYTES,
    HttpCase,
    Keys,
)
from tests.server.corpus.http_more import ALL_CASES
from tests.server.corpus.stopwatch import Stopwatch
from tests.server.live_app import LiveApp, live_app
from tests.server.raw_http import Answer, exchange, form, joined, part, request, send_and_leave

N_CASES_PROMISED = 40
PROBLEM_MEMBERS = {
    "type", "title", "status", "detail", "instance", "code", "param", "request_id", "error",
}  # fmt: skip


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveApp]:
    limits = {
        "sync_max_bytes": SYNC_LIMIT_BYTES,
        "job_max_bytes": 2 * SYNC_LIMIT_BYTES,
        "receive_idle_s": IDLE_LIMIT_S,
        "min_free_bytes": 0,
        "max_jobs_per_key": 1000,
        "max_queued": 1000,
    }
    with live_app(tmp_path_factory.mktemp("app"), **limits) as app:
        yield app


@pytest.fixture(scope="module")
def stopwatch(request: pytest.FixtureRequest) -> Iterator[Stopwatch]:
    stopwatch = Stopwatch()
    yield stopwatch
    stopwatch.show("HTTP abuse", request.config)


def test_there_are_as_many_cases_as_promised():
    assert len(ALL_CASES) >= N_CASES_PROMISED


@pytest.mark.parametrize("case", ALL_CASES.values(), ids=lambda case: case.name)
def test_is_answered_as_documented(app, case, stopwatch):
    sent = case.send(Keys(app.alice, app.bob, app.admin))
    with stopwatch.running(case.name):
        answer = exchange(app.port, sent, case.method)
    if answer is None:
        assert 0 in case.statuses
        return
    assert answer.status in case.statuses, answer
    if not case.is_outside:
        _check_answer(app, case, answer)


def _check_answer(app: LiveApp, case: HttpCase, answer: Answer) -> None:
    assert answer.headers["x-request-id"]
    assert str(app.service.spool.root).encode() not in answer.body
    if answer.status >= 400:
        _check_problem(answer)
        assert case.code in ("", answer.problem["code"])


def _check_problem(answer: Answer) -> None:
    assert answer.headers["content-type"].startswith("application/problem+json")
    found = answer.problem
    assert set(found) >= PROBLEM_MEMBERS
    assert found["status"] == answer.status
    assert found["request_id"] == answer.headers["x-request-id"]
    assert found["code"] in CODES
    assert found["error"]["code"] == found["code"]
    assert found["detail"]


def ask(app: LiveApp, method: str, path: str, body: bytes | None = None,
        key: str | None = None, **headers: str) -> Answer:  # fmt: skip
    """One request that must be answered; with a problem, a well-formed one."""
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    answer = exchange(app.port, request(method, path, body, pairs, key or app.alice), method)
    assert answer is not None
    if answer.status >= 400:
        _check_problem(answer)
    return answer


def made_job(app: LiveApp, content: bytes = b"sound", **fields: str) -> str:
    """Id of a new job that has ended."""
    answer = ask(app, "POST", JOBS, form(content, **fields))
    assert answer.status == 202, answer
    job_id = json.loads(answer.body)["id"]
    ended = ask(app, "GET", f"{JOBS}/{job_id}", Prefer="wait=60")
    assert json.loads(ended.body)["finished_at"]
    return str(job_id)


def test_another_keys_job_is_not_there(app):
    path = f"{JOBS}/{made_job(app)}"
    for method, more in (
        ("GET", ""), ("GET", "/content"), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", ""),
    ):  # fmt: skip
        answer = ask(app, method, path + more, key=app.bob)
        assert (answer.status, answer.problem["code"]) == (404, "not_found")
    assert json.loads(ask(app, "GET", JOBS, key=app.bob).body)["items"] == []
    assert ask(app, "GET", path).status == 200
    assert ask(app, "GET", path, key=app.admin).status == 200


@pytest.mark.parametrize(
    ("ranges", "statuses"),
    [
        ("bytes=0-0", {206}),
        ("bytes=-1", {206}),
        ("bytes=" + ",".join(f"{n}-{n}" for n in range(5_000)), {200, 206, 400, 416}),
        ("bytes=" + ",".join("0-" for _ in range(10_000)), {200, 206, 400, 416}),
        ("bytes=0-" + "9" * 5_000, {200, 206, 400, 416}),
        ("bytes=99999999-", {416}),
        ("bytes=-0", {200, 400, 416}),
        ("bytes=5-2", {200, 400, 416}),
        ("bytes=a-b", {200, 400, 416}),
        ("bytes=--", {200, 400, 416}),
        ("bytes=", {200, 400, 416}),
        ("lines=0-1", {200, 400, 416}),
        ("bytes=\xb2-\xb3", {200, 400, 416}),
        ("bytes=0-0\x09,\x091-1", {200, 206, 400, 416}),
    ],
)
def test_ranges(app, ranges, statuses):
    path = f"{JOBS}/{made_job(app)}/content"
    answer = ask(app, "GET", path, Range=ranges)
    assert answer.status in statuses
    assert len(answer.body) < 1_000_000
    assert ask(app, "GET", path, Range=ranges, If_Range="nonsense").status in {*statuses, 200}


@pytest.mark.parametrize(
    "last_id", ["-1", "0", "abc", "", "1.5", "9" * 19, "9" * 30, "9" * 5_000, "\xb2", "1e9"]
)
def test_absurd_last_event_id_replays_the_end(app, last_id):
    answer = ask(app, "GET", f"{JOBS}/{made_job(app)}/events", Last_Event_ID=last_id)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert b"event: succeeded" in answer.body


def test_events_of_a_running_job_can_be_left(app):
    created = ask(app, "POST", JOBS, form(b"SLOW 0.5"))
    path = f"{JOBS}/{json.loads(created.body)['id']}"
    send_and_leave(app.port, request("GET", f"{path}/events", key=app.alice))
    ended = ask(app, "GET", path, Prefer="wait=60")
    assert json.loads(ended.body)["status"] == "succeeded"


def test_idempotency_replays(app):
    first = ask(app, "POST", JOBS, form(b"one"), Idempotency_Key="k1")
    again = ask(app, "POST", JOBS, form(b"one"), Idempotency_Key="k1")
    assert json.loads(again.body)["id"] == json.loads(first.body)["id"]
    for body in (form(b"two"), form(b"one", strength="0.5"), form(b"one", mode="audio_only")):
        other = ask(app, "POST", JOBS, body, Idempotency_Key="k1")
        assert (other.status, other.problem["code"]) == (409, "idempotency_mismatch")
    of_bob = ask(app, "POST", JOBS, form(b"two"), key=app.bob, Idempotency_Key="k1")
    assert of_bob.status == 202
    assert json.loads(of_bob.body)["id"] != json.loads(first.body)["id"]


def test_a_job_cannot_end_twice(app):
    path = f"{JOBS}/{made_job(app)}"
    assert ask(app, "POST", f"{path}/cancel").status == 409
    assert ask(app, "GET", f"{path}/content?variant=video").status == 404
    assert ask(app, "DELETE", path).status == 204
    for method, more in (("DELETE", ""), ("GET", ""), ("POST", "/cancel"), ("GET", "/content")):
        assert ask(app, method, path + more).status == 404


def test_content_of_what_failed_is_a_conflict(app):
    path = f"{JOBS}/{made_job(app, b'FAIL undecodable')}"
    answer = ask(app, "GET", f"{path}/content")
    assert (answer.status, answer.problem["code"]) == (409, "conflict")


@pytest.mark.parametrize("code", [*sorted(CODES), "made_up"])
def test_every_failure_of_a_worker_is_a_documented_answer(app, code):
    answer = ask(app, "POST", ENHANCE, form(f"FAIL {code}".encode()))
    expected = code if code in CODES else "internal"
    assert (answer.status, answer.problem["code"]) == (CODES[expected][0], expected)


@pytest.mark.parametrize("name", ["../../x\\y.wav", "\u202e\u20ac.mp4", 'a";b="c', "a\r\nb", "\0"])
def test_file_names_come_back_harmless(app, name):
    sent = name.replace("\\", "\\\\").replace('"', "%22").replace("\r\n", "%0D%0A")
    body = joined([part("file", b"sound", sent)])
    answer = exchange(app.port, request("POST", ENHANCE, body, key=app.alice))
    assert answer is not None
    if answer.status == 200:
        disposition = answer.headers["content-disposition"]
        assert disposition.startswith("attachment")
        assert not set("/\\\r\n\0\u202e") & set(disposition)
        assert answer.headers["x-content-type-options"] == "nosniff"
    else:
        _check_problem(answer)


def test_client_that_leaves_while_uploading_leaves_nothing(app):
    whole = request("POST", ENHANCE, form(b"x" * 100_000), key=app.alice)
    for n_bytes in (len(whole) // 2, len(whole) - 10, whole.index(b"\r\n\r\n") + 4):
        send_and_leave(app.port, whole[:n_bytes])


def test_client_that_leaves_while_waiting_leaves_nothing(app):
    send_and_leave(app.port, request("POST", ENHANCE, form(b"SLOW 30"), key=app.alice))


def test_evil_request_id_is_not_echoed(app):
    for evil in ("<script>", "a" * 65, "a b", "\xe9"):
        assert ask(app, "GET", JOBS, X_Request_Id=evil).headers["x-request-id"] != evil
    assert ask(app, "GET", JOBS, X_Request_Id="a-1").headers["x-request-id"] == "a-1"


def test_two_requests_on_one_connection_do_not_mix(app):
    """A body that is longer than announced is not read as a second request of the same client."""
    hidden = request("DELETE", f"{JOBS}/{'x' * 20}", key=app.alice)
    sent = request("POST", ENHANCE, form() + hidden, [("Connection", "keep-alive")], app.alice)
    answer = exchange(app.port, sent)
    assert answer is not None
    assert answer.status in {200, 400}


def test_numbers_name_no_job_and_no_file(app):
    text = ask(app, "GET", "/metrics").body.decode()
    assert "avse_rejected_total" in text
    assert "http_server_request_duration_seconds" in text
    assert re.search("job_[0-9a-f]", text) is None
    assert "passwd" not in text
    assert app.alice not in text


def test_nothing_is_left_behind(app):
    for key in (app.alice, app.bob):
        while items := json.loads(ask(app, "GET", f"{JOBS}?limit=100", key=key).body)["items"]:
            for item in items:
                assert ask(app, "DELETE", f"{JOBS}/{item['id']}", key=key).status == 204
    assert app.job_ids_when_quiet() == []
    known = {"lock", "jobs.sqlite3", "jobs.sqlite3-wal", "jobs.sqlite3-shm"}
    assert {path.name for path in app.service.spool.root.iterdir()} <= known
