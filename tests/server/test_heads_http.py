"""The recognition heads over HTTP: not installed, cold, loaded, unloaded; forms, jobs, numbers."""

import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.server.conftest import Running, Start, run_app
from tests.server.head_parts import describe_head, head_settings

ANSWER = {
    "model": "hands",
    "duration": 1.0,
    "segments": [
        {
            "start": 0.0,
            "end": 1.0,
            "label": "wave",
            "score": 0.75,
            "top_k": [{"label": "wave", "score": 0.75}, {"label": "clap", "score": 0.25}],
        }
    ],
    "streams": ["depth"],
    "notes": [],
}
PATIENT = {"Prefer": "wait=30"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("heads")
    with run_app(folder / "spool", **head_settings(folder / "bundles")) as found:
        yield found


@pytest.fixture
def running(app: Running) -> Running:
    """The app with no head loaded and nothing done yet."""
    for model in ("hands", "bodies"):
        app.service.store.want_model(model, False)
        app.service.store.set_model_status(model, "available")
    for job_id in app.service.store.all_ids():
        app.service.store.delete(job_id)
        app.service.spool.delete(job_id)
    app.worker.go_on()
    app.worker.seen.clear()
    return app


def status_of(running: Running, model: str) -> str:
    return str(running.client.get(f"/v1/models/{model}").json()["status"])


def wait_for_status(running: Running, model: str, wanted: str) -> None:
    for _ in range(1000):
        if status_of(running, model) == wanted:
            return
        time.sleep(0.02)
    raise AssertionError(f"{model} is not {wanted}")


def test_what_is_not_installed_is_refused_before_the_upload(start: Start, tmp_path: Path) -> None:
    elsewhere = describe_head(tmp_path / "heads", "hands", "gesture")
    running = start(bundle_dirs=(elsewhere.parent,))
    assert running.client.get("/v1/metadata").json()["heads"] == []
    for path in ("/v1/gestures", "/v1/actions"):
        answer = running.post(path, model="hands")
        assert (answer.status_code, answer.json()["code"]) == (404, "head_not_configured")
    assert running.worker.seen == []


def test_a_head_of_another_task_is_no_head(start: Start, tmp_path: Path) -> None:
    wrong = head_settings(tmp_path / "heads")["action_model"]
    running = start(gesture_model=wrong, action_model="avse-mmtm")
    assert running.client.get("/v1/metadata").json()["heads"] == []


def test_a_cold_head_is_loaded_by_the_first_call(running: Running) -> None:
    running.worker.pause()
    assert status_of(running, "hands") == "available"
    cold = running.post("/v1/gestures")
    assert (cold.status_code, cold.json()["code"]) == (503, "model_loading")
    assert int(cold.headers["retry-after"]) > 0
    assert running.service.spool.job_ids() == []
    wait_for_status(running, "hands", "ready")
    running.worker.go_on()
    answer = running.post("/v1/gestures")
    assert (answer.status_code, answer.json()) == (200, ANSWER)
    assert running.worker.seen[0].is_sync
    assert not running.service.store.all_ids()


def test_a_patient_call_waits_for_the_head(running: Running) -> None:
    answer = running.post("/v1/actions", headers=PATIENT, top_k="1")
    assert answer.status_code == 200
    assert answer.json()["model"] == "bodies"
    assert len(answer.json()["segments"][0]["top_k"]) == 1


def test_loading_and_unloading(running: Running) -> None:
    post = running.client.post
    assert post("/v1/models/hands/load").status_code == 202
    wait_for_status(running, "hands", "ready")
    assert post("/v1/models/hands/load").status_code == 200
    assert running.post("/v1/gestures").status_code == 200
    assert post("/v1/models/hands/unload").status_code == 202
    wait_for_status(running, "hands", "available")
    assert running.post("/v1/gestures").status_code == 503


def test_a_head_that_cannot_be_loaded_says_so_as_a_failed_job(running: Running) -> None:
    running.service.store.set_model_status("hands", "failed", "checksum_mismatch")
    answer = running.post("/v1/gestures", b"FAIL internal")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")


def test_a_job_waits_for_its_head_by_itself(running: Running) -> None:
    job = running.job(kind="gestures", window_s="2", stride_s="0.5", threshold="0.3")
    ended = running.ended(job["id"])
    assert (ended["status"], ended["result"]) == ("succeeded", ANSWER)
    assert ended["options"] == {
        "model": "hands",
        "top_k": 5,
        "window_s": 2.0,
        "stride_s": 0.5,
        "threshold": 0.3,
        "picture": "auto",
        "has_skeleton": False,
    }
    later = running.post("/v1/actions", headers={"Prefer": "respond-async"})
    assert later.status_code == 202
    assert running.ended(later.json()["id"])["result"]["model"] == "bodies"
    listed = running.client.get("/v1/jobs", params={"kind": "actions"}).json()["items"]
    assert [each["id"] for each in listed] == [later.json()["id"]]


def test_actions_take_a_skeleton_file(running: Running) -> None:
    joints = io.BytesIO()
    np.save(joints, np.zeros((3, 20, 3), np.float32))
    files = {"file": ("clip.mp4", b"x"), "skeleton": ("clip.npy", joints.getvalue())}
    answer = running.client.post("/v1/actions", files=files, headers=PATIENT)
    assert answer.status_code == 200, answer.text
    assert running.worker.seen[0].options["has_skeleton"]
    refused = running.client.post("/v1/gestures", files=files)
    assert (refused.status_code, refused.json()["param"]) == (400, "skeleton")


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"top_k": "0"}, 422, "top_k"),
        ({"top_k": "101"}, 422, "top_k"),
        ({"top_k": "2.5"}, 422, "top_k"),
        ({"window_s": "0"}, 422, "window_s"),
        ({"window_s": "nan"}, 422, "window_s"),
        ({"window_s": ""}, 422, "window_s"),
        ({"stride_s": "0.001"}, 422, "stride_s"),
        ({"stride_s": "inf"}, 422, "stride_s"),
        ({"window_s": "1", "stride_s": "2"}, 422, "stride_s"),
        ({"threshold": "1.1"}, 422, "threshold"),
        ({"threshold": "-0.1"}, 422, "threshold"),
        ({"picture": "thermal"}, 422, "picture"),
        ({"strength": "1"}, 400, "strength"),
        ({"model": "bodies"}, 404, "model"),
        ({"model": "avse-mmtm"}, 404, "model"),
        ({"model": "../hands"}, 404, "model"),
    ],
)
def test_odd_fields_are_refused(
    running: Running, fields: dict[str, Any], status: int, param: str
) -> None:
    for path, more in (("/v1/gestures", {}), ("/v1/jobs", {"kind": "gestures"})):
        answer = running.post(path, **fields, **more)
        assert (answer.status_code, answer.json()["param"]) == (status, param), answer.text
    assert running.service.spool.job_ids() == []


def test_an_empty_upload_is_refused(running: Running) -> None:
    answer = running.post("/v1/gestures", b"")
    assert (answer.status_code, answer.json()["code"]) == (422, "undecodable")


def test_models_metadata_and_numbers_know_the_heads(running: Running) -> None:
    get = running.client.get
    assert get("/v1/metadata").json()["heads"] == ["gestures", "actions"]
    known = get("/v1/models", params={"task": "gesture"}).json()["items"]
    hands = next(each for each in known if each["id"] == "hands")
    assert (hands["labels"], hands["streams"]) == (["wave", "clap", "bow"], ["depth"])
    assert hands["is_default"]
    assert 'avse_model_loaded{model="hands"} 0.0' in get("/metrics").text
    running.post("/v1/gestures")
    wait_for_status(running, "hands", "ready")
    running.post("/v1/gestures")
    text = get("/metrics").text
    assert 'avse_model_loaded{model="hands"} 1.0' in text
    assert 'avse_rejected_total{code="model_loading"}' in text
    wanted = 'avse_jobs_total{kind="gestures",reason="",status="succeeded"}'
    while wanted not in get("/metrics").text:  # another thread may be bringing it in
        time.sleep(0.02)
