"""Jobs over HTTP: made, listed, waited for, canceled, deleted, fetched, watched."""

import json
import threading

import httpx
import pytest

from tests.server.conftest import Running, Start


def events(text: str) -> list[tuple[str, str, dict[str, object]]]:
    """Name, id and data of each event of a stream."""
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "event" in lines:
            found.append((lines["event"], lines.get("id", ""), json.loads(lines["data"])))
    return found


def test_a_job_from_start_to_end(running: Running) -> None:
    running.worker.pause()
    answer = running.post("/v1/jobs", b"WARN", metadata='{"take": "7"}')
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["retry-after"]
    assert (job["status"], job["queue_position"], job["stage"]) == ("queued", 0, None)
    early = running.client.get(f"/v1/jobs/{job['id']}/content")
    assert (early.status_code, early.json()["code"]) == (409, "conflict")
    running.worker.go_on()
    ended = running.ended(job["id"])
    assert ended["status"] == "succeeded"
    assert ended["progress"] == 1.0
    assert ended["metadata"] == {"take": "7"}
    assert ended["warnings"] == ["a warning"]
    assert {each["variant"] for each in ended["outputs"]} == {"audio", "report"}
    assert running.client.get(ended["outputs"][0]["url"]).content[:4] == b"RIFF"


def test_results_can_be_fetched_in_ranges(running: Running) -> None:
    job = running.job()
    running.ended(job["id"])
    url = f"/v1/jobs/{job['id']}/content"
    whole = running.client.get(url)
    assert whole.headers["accept-ranges"] == "bytes"
    assert whole.headers["content-disposition"] == 'attachment; filename="clip-enhanced.wav"'
    assert whole.headers["cache-control"] == "private, no-store"
    piece = running.client.get(url, headers={"Range": "bytes=4-7"})
    assert (piece.status_code, piece.content) == (206, whole.content[4:8])
    assert piece.headers["content-range"] == f"bytes 4-7/{len(whole.content)}"
    two = running.client.get(url, headers={"Range": "bytes=0-1,-2"})
    assert two.headers["content-type"].startswith("multipart/byteranges")
    beyond = running.client.get(url, headers={"Range": "bytes=999999-"})
    assert (beyond.status_code, beyond.json()["status"]) == (416, 416)
    assert beyond.headers["content-range"] == f"bytes */{len(whole.content)}"
    wrong = running.client.get(url, headers={"Range": "bytes=9-1"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "invalid_request")
    many = running.client.get(url, headers={"Range": "bytes=" + "0-1," * 2000 + "0-1"})
    assert many.status_code == 200
    assert running.client.get(url, params={"variant": "report"}).json()["path"] == "audio_only"
    missing = running.client.get(url, params={"variant": "video"})
    assert (missing.status_code, missing.json()["param"]) == (404, "variant")
    assert running.client.get(url, params={"variant": "../x"}).status_code == 422


def test_what_is_expired_is_gone(start: Start) -> None:
    running = start(job_ttl_s=0.01)
    job = running.job()
    url = f"/v1/jobs/{job['id']}"
    for _ in range(300):
        answer = running.client.get(f"{url}/content")
        if answer.status_code == 410:
            break
        threading.Event().wait(0.05)
    assert (answer.status_code, answer.json()["code"]) == (410, "gone")
    assert running.client.get(url).status_code == 404
    assert running.service.spool.job_ids() == []


def test_a_lost_file_is_gone(running: Running) -> None:
    job = running.job()
    running.ended(job["id"])
    (running.service.spool.folder(job["id"]) / "output.wav").unlink()
    assert running.client.get(f"/v1/jobs/{job['id']}/content").status_code == 410


def test_a_failed_job_says_why(running: Running) -> None:
    job = running.job(b"FAIL no_audio")
    ended = running.ended(job["id"])
    assert ended["status"] == "failed"
    assert ended["error"] == {"code": "no_audio", "detail": "as the test asked"}
    assert running.client.get(f"/v1/jobs/{job['id']}/content").status_code == 409


def test_cancel_and_delete(running: Running) -> None:
    running.worker.pause()
    job = running.job()
    url = f"/v1/jobs/{job['id']}"
    assert running.client.post(f"{url}/cancel").json()["status"] == "canceled"
    assert running.client.post(f"{url}/cancel").status_code == 200
    assert running.client.delete(url).status_code == 204
    assert running.client.delete(url).status_code == 404
    assert running.client.get(url).json()["code"] == "not_found"
    assert running.service.spool.job_ids() == []
    running.worker.go_on()
    slow = running.job(b"SLOW 60")
    while running.client.get(f"/v1/jobs/{slow['id']}").json()["status"] == "queued":
        pass
    assert running.client.post(f"/v1/jobs/{slow['id']}/cancel").json()["cancel_requested"]
    assert running.ended(slow["id"])["status"] == "canceled"
    done = running.job()
    running.ended(done["id"])
    refused = running.client.post(f"/v1/jobs/{done['id']}/cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")


def test_a_running_job_can_be_deleted(running: Running) -> None:
    job = running.job(b"SLOW 60")
    while running.service.store.n_running() == 0:
        pass
    assert running.client.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert running.ended(running.job()["id"])["status"] == "succeeded"


def test_waiting_for_a_job_is_bounded(start: Start) -> None:
    running = start(max_wait_s=0.05)
    running.worker.pause()
    job = running.job()
    answer = running.client.get(f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=9999"})
    assert answer.headers["preference-applied"] == "wait=0.05"
    assert answer.headers["retry-after"]
    odd = running.client.get(f"/v1/jobs/{job['id']}", headers={"Prefer": 'wait="x"; a=b, foo'})
    assert odd.status_code == 200


def test_pages(running: Running) -> None:
    made = [running.job()["id"] for _ in range(3)]
    first = running.client.get("/v1/jobs", params={"limit": 2}).json()
    assert [job["id"] for job in first["items"]] == made[:0:-1]
    assert first["has_more"]
    rest = running.client.get("/v1/jobs", params={"after": first["last_id"]}).json()
    assert [job["id"] for job in rest["items"]] == made[:1]
    assert not rest["has_more"]
    for bad in ({"limit": 0}, {"limit": 101}, {"status": "odd"}, {"kind": "odd"}):
        assert running.client.get("/v1/jobs", params=bad).status_code == 422
    assert running.client.get("/v1/jobs", params={"after": "job_none"}).status_code == 404
    assert running.client.get("/v1/jobs", params={"kind": "faces"}).json()["items"] == []


def test_idempotency(running: Running) -> None:
    headers = {"Idempotency-Key": "abc"}
    first = running.post("/v1/jobs", headers=headers)
    again = running.post("/v1/jobs", headers=headers)
    assert again.status_code == 202
    assert again.json()["id"] == first.json()["id"]
    assert running.service.spool.job_ids() == [first.json()["id"]]
    for other in ({"mode": "av"}, {"body": b"other"}, {"metadata": '{"a": "b"}'}):
        refused = running.post("/v1/jobs", headers=headers, **other)  # type: ignore[arg-type]
        assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_mismatch")
    assert running.post("/v1/jobs", headers={"Idempotency-Key": "x" * 256}).status_code == 422


@pytest.mark.parametrize("notes", ["[]", "{", '{"a": 1}', '{"a": {}}', "[" * 3000])
def test_metadata_is_a_flat_object(running: Running, notes: str) -> None:
    answer = running.post("/v1/jobs", metadata=notes)
    assert (answer.status_code, answer.json()["param"]) == (422, "metadata")


def test_other_kinds_of_jobs(running: Running) -> None:
    faces = running.job(kind="faces")
    assert running.ended(faces["id"])["result"]["tracks"]
    files = {"reference": ("r", b"r"), "estimate": ("e", b"e")}
    answer = running.client.post("/v1/jobs", files=files, data={"kind": "evaluation"})
    assert running.ended(answer.json()["id"])["result"]["stoi"] == 0.9
    wrong = running.client.post("/v1/jobs", files={**files, "file": ("f", b"f")})
    assert wrong.json()["param"] == "estimate"
    assert running.post("/v1/jobs", kind="faces", strength="1").status_code == 400
    assert running.post("/v1/jobs", kind="odd").status_code == 422


def test_events_of_a_running_job(running: Running) -> None:
    running.worker.pause()
    job = running.job(b"WARN")
    url = f"/v1/jobs/{job['id']}/events"
    with running.client.stream("GET", url) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-cache"
        blocks = stream.iter_text()
        first = next(blocks)
        running.worker.go_on()
        found = events(first + "".join(blocks))
    assert found[0] == ("progress", "", {"stage": None, "progress": 0.0, "queue_position": 0})
    assert [name for name, _, _ in found[1:]] == ["warning", *["progress"] * 3, "succeeded"]
    assert [int(number) for _, number, _ in found[1:]] == list(range(1, 6))


def test_events_are_replayed(running: Running) -> None:
    job = running.job(b"WARN")
    running.ended(job["id"])
    url = f"/v1/jobs/{job['id']}/events"
    assert [name for name, _, _ in events(running.client.get(url).text)] == ["succeeded"]
    missed = running.client.get(url, headers={"Last-Event-ID": "3"}).text
    assert [number for _, number, _ in events(missed)] == ["4", "5"]
    for odd in ("5", "99", "-1", "x", "9" * 40):
        text = running.client.get(url, headers={"Last-Event-ID": odd}).text
        assert [name for name, _, _ in events(text)] == ["succeeded"], odd


def test_events_of_failures(running: Running) -> None:
    job = running.job(b"FAIL no_audio")
    running.ended(job["id"])
    name, _, payload = events(running.client.get(f"/v1/jobs/{job['id']}/events").text)[0]
    assert name == "failed"
    assert payload["code"] == "no_audio"
    assert running.client.get("/v1/jobs/job_none/events").status_code == 404


def test_the_stream_of_a_deleted_job_ends(running: Running) -> None:
    running.worker.pause()
    job = running.job()
    with running.client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
        with httpx.Client(base_url=running.client.base_url) as other:
            other.delete(f"/v1/jobs/{job['id']}")
        assert len(events(stream.read().decode())) == 1


def test_draining_ends_streams_and_refuses_work(running: Running) -> None:
    running.worker.pause()
    job = running.job()
    with running.client.stream("GET", f"/v1/jobs/{job['id']}/events") as stream:
        running.service.drain.is_draining = True
        running.service.watcher.wake_all()
        stream.read()
    refused = running.client.get(f"/v1/jobs/{job['id']}/events")
    assert (refused.status_code, refused.json()["code"]) == (503, "draining")
    assert running.post("/v1/jobs").json()["code"] == "draining"
    assert running.client.get("/v1/health/ready").status_code == 503
    assert running.client.get(f"/v1/jobs/{job['id']}").json()["status"] == "queued"
