"""Requests made from the OpenAPI document: what it says is what the service answers."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings

schemathesis = pytest.importorskip("schemathesis")
from schemathesis.checks import not_a_server_error  # noqa: E402
from schemathesis.specs.openapi.checks import (  # noqa: E402
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from server.main import create_app  # noqa: E402
from server.settings import Settings  # noqa: E402
from tests.server.head_parts import head_settings  # noqa: E402
from tests.server.live_app import LiveApp, live_app  # noqa: E402

N_EXAMPLES = 8
INTERFACE = (
    "POST /v1/audio/enhancements", "POST /v1/jobs", "GET /v1/jobs", "GET /v1/jobs/{job_id}",
    "GET /v1/jobs/{job_id}/events", "POST /v1/jobs/{job_id}/cancel", "DELETE /v1/jobs/{job_id}",
    "GET /v1/jobs/{job_id}/content", "POST /v1/faces", "GET /v1/models",
    "GET /v1/models/{model_id}", "POST /v1/models/{model_id}/load",
    "POST /v1/models/{model_id}/unload", "POST /v1/evaluations", "GET /v1/health/live",
    "GET /v1/health/ready", "GET /metrics", "GET /v1/metadata", "GET /openapi.json", "GET /docs",
    "GET /", "POST /v1/gestures", "POST /v1/actions",
)  # fmt: skip
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
bounded = settings(
    max_examples=N_EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveApp]:
    limits = {"min_free_bytes": 0, "max_queued": 10_000, "max_jobs_per_key": 10_000}
    heads = head_settings(tmp_path_factory.mktemp("heads"))
    with live_app(tmp_path_factory.mktemp("app"), **limits, **heads) as app:
        for model in ("hands", "bodies"):  # a cold head answers 503 before it has loaded
            app.service.store.set_model_status(model, "ready")
        yield app


@pytest.fixture(scope="module")
def address(app: LiveApp) -> str:
    return f"http://127.0.0.1:{app.port}"


def test_every_operation_answers_as_its_document_says(app, address):
    document = schemathesis.openapi.from_url(f"{address}/openapi.json")
    headers = {"Authorization": f"Bearer {app.admin}"}
    n_operations = 0
    for found in document.get_all_operations():
        _try_operation(found.ok(), headers)
        n_operations += 1
    assert n_operations >= 15


def _try_operation(operation: Any, headers: dict[str, str]) -> None:
    @bounded
    @given(case=operation.as_strategy())
    def answers_as_documented(case):
        case.call_and_validate(headers=headers, checks=CHECKS, timeout=120)

    answers_as_documented()


def test_every_operation_has_a_summary_and_its_errors(address):
    document = httpx.get(f"{address}/openapi.json").json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation.get("summary"), where
            answers = operation["responses"]
            assert any(status.startswith("2") for status in answers), where
            for status, answer in answers.items():
                is_problem = status >= "400" and path != "/v1/health/ready"
                assert not is_problem or "application/problem+json" in answer["content"], where


def test_every_operation_of_the_interface_is_there_with_examples(address):
    document = httpx.get(f"{address}/openapi.json").json()
    there = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
    }
    assert set(INTERFACE) <= there
    for name in INTERFACE:
        method, path = name.split()
        operation = document["paths"][path][method.lower()]
        for place, media in _described(operation):
            assert "example" in media or _is_binary(media), f"{name}: {place}"


def _described(operation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for place, media in operation.get("requestBody", {}).get("content", {}).items():
        yield place, media
    for status, answer in operation["responses"].items():
        for place, media in answer.get("content", {}).items():
            yield f"{status} {place}", media


def _is_binary(media: dict[str, Any]) -> bool:
    return media.get("schema", {}).get("format") == "binary"


def test_the_document_says_where_a_key_is_needed(address, tmp_path):
    paths = httpx.get(f"{address}/openapi.json").json()["paths"]
    assert {} not in paths["/v1/jobs"]["get"]["security"]
    assert {} in paths["/metrics"]["get"]["security"]
    app = create_app(Settings(spool_dir=tmp_path), engine="none")
    assert {} in app.openapi()["paths"]["/v1/jobs"]["get"]["security"]


def test_fields_of_a_form_are_never_null(address):
    paths = httpx.get(f"{address}/openapi.json").json()["paths"]
    for path in ("/v1/jobs", "/v1/audio/enhancements", "/v1/faces", "/v1/actions"):
        body = paths[path]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
        assert "null" not in json.dumps(body)
        assert body["properties"]["file"]["minLength"] == 1
    assert {"required": ["reference", "estimate"]} in paths["/v1/jobs"]["post"]["requestBody"][
        "content"
    ]["multipart/form-data"]["schema"]["anyOf"]


def test_nothing_is_left_behind(app, address):
    headers = {"Authorization": f"Bearer {app.admin}"}
    with httpx.Client(base_url=address, headers=headers, timeout=120) as web:
        while items := web.get("/v1/jobs?limit=100").json()["items"]:
            for item in items:
                assert web.delete(f"/v1/jobs/{item['id']}").status_code == 204
    assert app.job_ids_when_quiet() == []
