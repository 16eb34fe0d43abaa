"""Health, models, numbers, metadata, errors, the OpenAPI document, the start and the end."""

import json
import logging
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from server.catalogue import Catalogue, read_model
from server.errors import CODES, ApiError, as_api_error
from server.job_types import NewJob
from server.jobs import JobStore
from server.logs import JsonFormatter
from server.settings import Settings
from server.spool import Spool
from tests.server.conftest import Running, Start


def bundle(folder: Path, **changes: Any) -> Path:
    spec = {"name": "small", "task": "enhancement", "card": {"terms": "any", "scores": {"x": 1}}}
    folder.mkdir(parents=True)
    (folder / "bundle.json").write_text(json.dumps(spec | changes))
    return folder


def test_models_are_found_without_opening_them(tmp_path: Path) -> None:
    place = tmp_path / "more"
    bundle(place / "one", model_config={"sample_rate_hz": 16000})
    bundle(place / "two", name="other", task="gestures")
    (bundle(place / "broken", name="x") / "bundle.json").write_text("{")
    catalogue = Catalogue("small", [place])
    found = catalogue.find("small")
    assert found is not None
    assert (found.licence, found.sample_rate_hz, found.scores) == ("any", 16000, {"x": 1})
    assert [model.id for model in catalogue.all("gestures")] == ["other"]
    assert {"face-detector", "lip-sync"} <= {model.id for model in catalogue.all()}
    assert catalogue.find("x") is None
    assert Catalogue(str(place / "two")).default_id == "other"
    assert read_model(tmp_path) is None


def test_models_over_http(start: Start, tmp_path: Path) -> None:
    running = start(model=str(bundle(tmp_path / "b")))
    get, post = running.client.get, running.client.post
    ids = [model["id"] for model in get("/v1/models").json()["items"]]
    assert "small" in ids
    assert "face-detector" in ids
    only = get("/v1/models", params={"task": "enhancement"}).json()["items"]
    assert next(model for model in only if model["is_default"])["id"] == "small"
    assert get("/v1/models/small").json()["status"] == "ready"
    assert get("/v1/models/none").json()["code"] == "model_not_found"
    assert post("/v1/models/none/load").status_code == 404
    assert post("/v1/models/lip-sync/unload").json()["code"] == "conflict"
    assert post("/v1/models/small/load").status_code == 200
    assert post("/v1/models/small/unload").status_code == 202
    while get("/v1/models/small").json()["status"] != "available":
        pass
    assert post("/v1/models/small/unload").status_code == 200
    assert post("/v1/models/small/load").status_code == 202


def test_health_tells_the_truth(start: Start) -> None:
    running = start()
    get = running.client.get
    assert get("/v1/health/live").json() == {"status": "alive", "checks": {}}
    ready = get("/v1/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "ready")
    running.worker.__exit__(None, None, None)
    running.service.store.worker_state("fake", "starting", 1)
    assert get("/v1/health/ready").json()["checks"]["worker"] == "starting"
    running.service.store.forget_worker("fake")
    gone = get("/v1/health/ready")
    assert (gone.status_code, gone.json()["checks"]["worker"]) == (503, "none")
    assert gone.headers["retry-after"]


def test_numbers(running: Running) -> None:
    running.post("/v1/audio/enhancements")
    running.post("/v1/audio/enhancements", b"FAIL no_audio")
    running.client.get("/v1/jobs/job_secret")
    text = running.client.get("/metrics").text
    for name in (
        "http_server_request_duration_seconds_bucket",
        'avse_jobs_total{kind="enhancement",reason="no_audio",status="failed"}',
        "avse_queue_depth",
        "avse_queue_wait_seconds_count",
        'avse_stage_seconds_count{stage="infer"}',
        'avse_stage_seconds_count{stage="mux"}',
        "avse_batch_size_count",
        "avse_rtf_count",
        'avse_rejected_total{code="no_audio"}',
        "avse_spool_bytes",
    ):
        assert name in text, name
    for name in ("avse_fallback_total", "avse_decode_child_exits_total", "avse_model_loaded"):
        assert f"# TYPE {name.removesuffix('_total')}" in text, name
    assert "job_" not in re.sub(r"job_id}", "", text)
    assert 'http_route="/v1/jobs/{job_id}"' in text


def test_metadata(running: Running) -> None:
    found = running.client.get("/v1/metadata").json()
    assert found["limits"]["sync_max_bytes"] == 100_000_000
    assert not found["key_needed"]
    assert "opus" in found["outputs"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "not_found"),
        ("PUT", "/v1/jobs", 405, "invalid_request"),
        ("GET", "/v1/jobs/" + "x" * 100, 404, "not_found"),
        ("GET", "/v1/jobs?limit=x", 422, "invalid_request"),
        ("BREW", "/v1/models", 405, "invalid_request"),
    ],
)
def test_errors_of_the_framework_are_problems_too(
    running: Running, method: str, path: str, status: int, code: str
) -> None:
    answer = running.client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["instance"] == path.split("?", maxsplit=1)[0]
    assert problem["request_id"] == answer.headers["x-request-id"]


def test_request_ids(running: Running) -> None:
    get = running.client.get
    mine = get("/v1/health/live", headers={"X-Request-Id": "abc-1.2_3"})
    assert mine.headers["x-request-id"] == "abc-1.2_3"
    for bad in ("", "a b", "x" * 65, "<script>"):
        assert get("/v1/health/live", headers={"X-Request-Id": bad}).headers["x-request-id"] != bad


def test_a_fault_is_a_problem_and_a_log_line(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(running.service.store, "page", broken, raising=False)
    answer = running.client.get("/v1/jobs")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal")
    assert "secret" not in answer.text


def test_every_code_has_a_status_and_faults_of_the_disk_are_known() -> None:
    assert all(400 <= status < 600 and title for status, title in CODES.values())
    assert as_api_error(OSError(28, "full")).code == "insufficient_storage"
    assert as_api_error(OSError(2, "gone")).code == "internal"
    full = sqlite3.OperationalError("full")
    full.sqlite_errorname = "SQLITE_FULL"
    assert as_api_error(full).status == 507
    full.sqlite_errorname = "SQLITE_BUSY"
    assert as_api_error(full).status == 503
    assert ApiError("unheard_of", "x").code == "internal"


def test_logs_name_no_paths() -> None:
    try:
        Path("/secret/place").read_bytes()
    except OSError as error:
        made = logging.makeLogRecord({"msg": "failed", "exc_info": (type(error), error, None)})
    line = json.loads(JsonFormatter().format(made))
    assert line["error"]["type"] == "FileNotFoundError"
    assert "secret" not in json.dumps(line)


def test_the_document_names_every_endpoint_with_examples(running: Running) -> None:
    document = running.client.get("/openapi.json").json()
    wanted = {
        "/v1/audio/enhancements": "post",
        "/v1/jobs": "get post",
        "/v1/jobs/{job_id}": "get delete",
        "/v1/jobs/{job_id}/events": "get",
        "/v1/jobs/{job_id}/cancel": "post",
        "/v1/jobs/{job_id}/content": "get",
        "/v1/faces": "post",
        "/v1/models": "get",
        "/v1/models/{model_id}": "get",
        "/v1/models/{model_id}/load": "post",
        "/v1/models/{model_id}/unload": "post",
        "/v1/gestures": "post",
        "/v1/actions": "post",
        "/v1/evaluations": "post",
        "/v1/health/live": "get",
        "/v1/health/ready": "get",
        "/metrics": "get",
        "/v1/metadata": "get",
    }
    for path, methods in wanted.items():
        for method in methods.split():
            operation = document["paths"][path][method]
            for status, response in operation["responses"].items():
                if int(status) >= 400 and "application/json" in response.get("content", {}):
                    assert (path, status) == ("/v1/health/ready", "503")
            if method == "post" and "/v1/models" not in path and "cancel" not in path:
                schema = operation["requestBody"]["content"]["multipart/form-data"]["schema"]
                assert "$ref" not in json.dumps(schema)
    assert "$defs" not in json.dumps(document)


def test_a_start_puts_everything_in_order(start: Start, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    with JobStore(spool.database_path) as store:
        kept = store.create(NewJob("enhancement", {"output": "wav"}))
        sync = store.create(NewJob("enhancement", is_sync=True))
        for job_id in (kept.id, sync.id):
            spool.create(job_id)
        spool.input_path(kept.id).write_bytes(b"x")
        spool.create("job_" + "0" * 24)
        store.claim("dead", ["enhancement"])
        store.worker_state("dead", "ready", 1)
        store.set_draining(True)
    running = start()
    assert running.ended(kept.id)["status"] == "succeeded"
    assert running.service.spool.job_ids() == [kept.id]


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVSE_BUNDLE_DIRS", "/a:/b")
    monkeypatch.setenv("AVSE_MAX_QUEUED", "7")
    monkeypatch.setenv("AVSE_LOG_LEVEL", "debug")
    settings = Settings()
    assert settings.bundle_dirs == (Path("/a"), Path("/b"))
    assert (settings.max_queued, settings.log_level) == (7, "DEBUG")
    for name, bad in (("AVSE_LOG_LEVEL", "loud"), ("AVSE_MAX_QUEUED", "0")):
        monkeypatch.setenv(name, bad)
        with pytest.raises(ValueError, match=r"LOG|log|greater"):
            Settings()
        monkeypatch.delenv(name)


def test_the_api_process_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'cv2', 'av', 'numpy', 'scipy', 'librosa'}"
    code = f"import sys, server.main; print({heavy} & set(sys.modules) or 'none')"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "none"
