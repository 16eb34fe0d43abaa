"""The client and `avse remote enhance` against a service in a few lines (httpx.MockTransport)."""

import inspect
import json

import httpx
import pytest

import avse.client
from avse.cli import run
from avse.client import Client, ServerError

JOB = {
    "id": "job_1", "kind": "enhancement", "status": "queued", "stage": None, "progress": 0.0,
    "queue_position": 0, "eta": None, "warnings": [], "outputs": [], "result": None, "error": None,
}  # fmt: skip
REPORT = {"path": "mixed", "reason": "face_lost", "face_s": 2.0, "duration_s": 3.0}
DONE = {
    **JOB, "status": "succeeded", "progress": 1.0, "warnings": ["the picture was mended"],
    "result": {"report": REPORT},
}  # fmt: skip
FOUND = {
    "model": "hands", "duration": 2.5, "streams": ["depth", "flow"], "notes": ["no skeleton"],
    "segments": [
        {
            "start": 0.5, "end": 2.0, "label": "wave", "score": 0.75,
            "top_k": [{"label": "wave", "score": 0.75}, {"label": "clap", "score": 0.2}],
        }
    ],
}  # fmt: skip
EVENTS = (
    'event: progress\ndata: {"stage": null, "progress": 0.0, "queue_position": 0}\n\n'
    ": ping\n\n"
    'id: 1\nevent: progress\ndata: {"stage": "decode", "progress": 0.2}\n\n'
    'id: 2\nevent: progress\ndata: {"stage": "infer", "progress": 0.7}\n\n'
    'id: 3\nevent: succeeded\ndata: {"progress": 1.0}\n\n'
)


def problem(status: int, code: str) -> httpx.Response:
    body = {"code": code, "detail": f"it is {code}", "status": status}
    return httpx.Response(status, json=body, headers={"X-Request-Id": "r1"})


class Service:
    """Answers as the service does and remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.bodies: list[bytes] = []
        self.headers: list[httpx.Headers] = []
        self.jobs = [JOB, DONE]
        self.refusal: httpx.Response | Exception | None = None
        self.content = [b"RIFF", b"voice"]

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(f"{request.method} {request.url.raw_path.decode()}")
        self.bodies.append(request.read())
        self.headers.append(request.headers)
        if isinstance(self.refusal, Exception):
            raise self.refusal
        return self.refusal or self._answer(request.method, request.url.path)

    def _answer(self, method: str, path: str) -> httpx.Response:
        if path == "/v1/audio/enhancements":
            headers = {"AVSE-Mode": "audio_only", "AVSE-Fallback-Reason": "no_face"}
            return httpx.Response(200, content=b"RIFFvoice", headers=headers)
        lists = {"/v1/faces": {"tracks": [{"id": 0}]}, "/v1/models": {"items": [{"id": "m"}]}}
        lists["/v1/actions"] = FOUND
        if path in lists:
            return httpx.Response(200, json=lists[path])
        if path.endswith("/events"):
            return httpx.Response(200, text=EVENTS)
        if path.endswith("/content"):
            return httpx.Response(200, content=iter(self.content), headers={"Content-Length": "9"})
        if method == "DELETE":
            return httpx.Response(204)
        job = self.jobs.pop(0) if len(self.jobs) > 1 and method == "GET" else self.jobs[0]
        return httpx.Response(202 if method == "POST" else 200, json=job)


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def client(service):
    with Client("http://server", "secret", httpx.MockTransport(service)) as client:
        yield client


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip ü.mp4"
    path.write_bytes(b"picture and sound" * 10_000)
    return path


def test_the_class_stays_small():
    assert len(inspect.getsource(Client).splitlines()) < 150


def test_enhance_in_one_call(client, service, clip, tmp_path):
    enhanced = client.enhance(clip, mode="auto", face=None)
    assert (enhanced.mode, enhanced.reason, enhanced.face) == ("audio_only", "no_face", None)
    assert enhanced.save(tmp_path / "voice.wav").read_bytes() == b"RIFFvoice"
    assert service.headers[0]["Authorization"] == "Bearer secret"
    assert b'name="mode"\r\n\r\nauto' in service.bodies[0]
    assert b'name="face"' not in service.bodies[0]
    assert clip.read_bytes() in service.bodies[0]


def test_a_job_from_upload_to_download(client, service, clip, tmp_path):
    sent, seen, got = [], [], []
    job = client.submit(clip, lambda done, total: sent.append((done, total)), strength=0.5)
    ended = client.wait(job["id"], lambda each: seen.append((each["status"], each["stage"])))
    assert ended == DONE
    assert sent[-1] == (170_000, 170_000)
    assert len(sent) > 2
    assert ("running", "decode") in seen
    assert ("running", "infer") in seen
    assert seen[0] == ("queued", None)
    assert seen[-1] == ("succeeded", None)
    out = client.download("job_1", "audio", tmp_path / "v.wav", lambda *each: got.append(each))
    assert out.read_bytes() == b"RIFFvoice"
    assert got == [(4, 9), (9, 9)]
    client.delete("job_1")
    assert service.asked[-1] == "DELETE /v1/jobs/job_1"


def test_events_are_numbered_and_go_on_after_a_number(client, service):
    events = list(client.events("job_1", after=1))
    assert [(number, name) for number, name, _ in events][1:] == [
        (1, "progress"), (2, "progress"), (3, "succeeded"),
    ]  # fmt: skip
    assert events[2][2] == {"stage": "infer", "progress": 0.7}
    assert service.headers[0]["Last-Event-ID"] == "1"


def test_other_calls(client, service, clip):
    assert client.faces(clip) == [{"id": 0}]
    assert client.models() == [{"id": "m"}]
    assert client.job("job_1", wait_s=5)["status"] == "queued"
    assert service.headers[-1]["Prefer"] == "wait=5"
    client.cancel("job_1")
    assert service.asked[-1] == "POST /v1/jobs/job_1/cancel"


def test_recognition_in_one_call(client, service, clip, tmp_path):
    joints = tmp_path / "joints.npy"
    joints.write_bytes(b"joints of a body")
    assert client.recognise("actions", clip, top_k=2, window_s=None, skeleton=joints) == FOUND
    assert service.headers[0]["Prefer"] == "wait=60"
    assert b'name="top_k"\r\n\r\n2' in service.bodies[0]
    assert b'name="skeleton"; filename="joints.npy"' in service.bodies[0]
    assert b"joints of a body" in service.bodies[0]
    assert b"window_s" not in service.bodies[0]


def test_a_problem_becomes_an_error_with_its_code(client, service, clip):
    service.refusal = problem(422, "no_audio")
    with pytest.raises(ServerError, match="it is no_audio") as caught:
        client.enhance(clip)
    assert (caught.value.code, caught.value.status) == ("no_audio", 422)
    assert caught.value.request_id == "r1"


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}", b"null"])
def test_an_answer_that_is_no_problem(client, service, body):
    service.refusal = httpx.Response(502, content=body)
    with pytest.raises(ServerError, match="HTTP 502") as caught:
        client.models()
    assert caught.value.code == "internal"


def test_a_server_that_is_gone_is_waited_for_and_then_given_up(client, service, monkeypatch):
    slept = []
    monkeypatch.setattr(avse.client.time, "sleep", slept.append)
    service.refusal = httpx.ConnectError("refused")
    with pytest.raises(ServerError) as caught:
        client.wait("job_1")
    assert caught.value.code == "unreachable"
    assert sum(slept) == avse.client.PATIENCE_S


def test_a_download_that_breaks_off_leaves_nothing(client, service, tmp_path):
    def broken():
        yield b"RIFF"
        raise httpx.ReadError("gone")

    service.content = broken()
    with pytest.raises(ServerError):
        client.download("job_1", "audio", tmp_path / "v.wav")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def remote(service, monkeypatch, tmp_path, clip):
    """`avse remote enhance` in an empty folder, answered by the service of this file."""

    def connect(server, key=None, transport=None):
        return Client(server, key, httpx.MockTransport(service))

    monkeypatch.setattr("avse.client.Client", connect)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)

    def call(*more: str, command: str = "enhance") -> int:
        return run(["remote", command, str(clip), "--server", "http://server", *more])

    return call


def test_remote_enhance_writes_and_says_so(remote, service, tmp_path, capsys):
    assert remote("-o", "voice.flac", "--face", "1", "--strength", "0.5") == 0
    assert (tmp_path / "work" / "voice.flac").read_bytes() == b"RIFFvoice"
    said = capsys.readouterr()
    assert said.out == "voice.flac\tlips where seen (face_lost), mouth seen 2.0 of 3.0 s\n"
    assert "the picture was mended" in said.err
    assert b'name="output"\r\n\r\nflac' in service.bodies[0]
    assert b'name="face"\r\n\r\n1\r' in service.bodies[0]
    assert service.asked[-2:] == [
        "GET /v1/jobs/job_1/content?variant=audio", "DELETE /v1/jobs/job_1",
    ]  # fmt: skip


def test_remote_enhance_of_a_picture_fetches_the_video(remote, service):
    assert remote("-o", "voice.mp4") == 0
    assert "GET /v1/jobs/job_1/content?variant=video" in service.asked


def test_the_key_may_be_in_a_file(remote, service, tmp_path):
    (tmp_path / "key").write_text("from-file\n")
    assert remote("--key", f"@{tmp_path / 'key'}") == 0
    assert service.headers[0]["Authorization"] == "Bearer from-file"


def test_a_job_that_failed_is_exit_3_and_leaves_nothing(remote, service, tmp_path, capsys):
    error = {"code": "no_audio", "detail": "the clip has no sound"}
    service.jobs = [{**JOB, "status": "failed", "error": error}]
    assert remote() == 3
    assert "the clip has no sound (no_audio)" in capsys.readouterr().err
    assert list((tmp_path / "work").iterdir()) == []


def test_a_canceled_job_is_exit_3(remote, service):
    service.jobs = [{**JOB, "status": "canceled"}]
    assert remote() == 3


def test_a_refusal_is_exit_3(remote, service, capsys):
    service.refusal = problem(401, "unauthenticated")
    assert remote() == 3
    assert "unauthenticated" in capsys.readouterr().err


@pytest.mark.parametrize(
    "more",
    [
        ("--server", "server:8000"), ("--server", "http://server:port"), ("--key", "@nowhere"),
        ("--key", "ü"), ("-o", "voice.txt"), ("--strength", "2"), ("--mode", "magic"),
    ],
)  # fmt: skip
def test_usage_errors_are_exit_2_and_ask_nothing(remote, service, more):
    assert remote(*more) == 2
    assert service.asked == []


def test_a_clip_that_is_not_there_is_exit_2(remote, capsys):
    assert run(["remote", "enhance", "nothing.mp4", "-s", "http://server"]) == 2
    assert "nothing.mp4" in capsys.readouterr().err


def test_remote_recognition_prints_segments_and_leaves_no_job(remote, service, tmp_path, capsys):
    service.jobs = [{**JOB, "status": "succeeded", "result": FOUND}]
    assert remote("--top-k", "2", "--threshold", "0.5", command="gestures") == 0
    said = capsys.readouterr()
    assert "no skeleton" in said.err
    for word in ("wave", "0.50 s", "2.00 s", "0.75", "clap 0.20", "depth and flow"):
        assert word in said.out
    assert b'name="kind"\r\n\r\ngestures' in service.bodies[0]
    assert b'name="threshold"\r\n\r\n0.5' in service.bodies[0]
    assert b"window_s" not in service.bodies[0]
    assert service.asked[-1] == "DELETE /v1/jobs/job_1"


def test_remote_actions_as_json_with_a_skeleton(remote, service, tmp_path, capsys):
    service.jobs = [{**JOB, "status": "succeeded", "result": FOUND}]
    (tmp_path / "joints.npy").write_bytes(b"joints")
    more = ("--json", "--skeleton", str(tmp_path / "joints.npy"), "--window", "2")
    assert remote(*more, command="actions") == 0
    assert json.loads(capsys.readouterr().out) == FOUND
    assert b'name="skeleton"; filename="joints.npy"' in service.bodies[0]
    assert remote("--skeleton", "nowhere.npy", command="actions") == 2
    assert remote("--top-k", "0", command="gestures") == 2


def test_ctrl_c_stops_the_job_on_the_server(remote, service, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "wait", interrupt)
    assert remote() == 130
    assert service.asked[-1] == "POST /v1/jobs/job_1/cancel"
