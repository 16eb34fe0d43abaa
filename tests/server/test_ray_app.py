"""The Ray Serve application with a stand-in for Ray: what one replica answers."""

import asyncio
import functools
import sys
import types
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.requests import Request
from starlette.responses import Response

from preprocessing.media import read_audio
from tests.media_factory import make_sound
from tests.server import worker_parts


class FakeDeployment:
    """Keeps what it was told."""

    def __init__(self, kind: type) -> None:
        self.kind = kind
        self.given: dict[str, Any] = {}

    def options(self, **given: Any) -> "FakeDeployment":
        self.given = given
        return self

    def bind(self, *arguments: Any) -> tuple["FakeDeployment", Any]:
        return self, arguments


def fake_batch(**_: Any) -> Callable[[Any], Any]:
    """Batches of one."""

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        async def call(replica: Any, item: Any) -> Any:
            return (await function(replica, [item]))[0]

        return call

    return decorate


@pytest.fixture
def ray_app(monkeypatch: pytest.MonkeyPatch) -> Any:
    ray = types.ModuleType("ray")
    ray.serve = types.SimpleNamespace(batch=fake_batch, deployment=FakeDeployment)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)
    monkeypatch.delitem(sys.modules, "server.ray_app", raising=False)
    module = import_module("server.ray_app")
    monkeypatch.setattr(module, "DecodePool", lambda config: worker_parts.LivingPool())
    yield module
    sys.modules.pop("server.ray_app", None)


def ask(replica: Any, body: bytes) -> Response:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    answer: Response = asyncio.run(replica(request))
    return answer


def test_a_replica_gives_the_voice_or_a_problem(
    ray_app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = worker_parts.settings(tmp_path, sync_max_bytes=100_000)
    replica = ray_app.EnhancerReplica(settings.model_dump(mode="json", exclude_none=True))
    monkeypatch.setattr(ray_app.tempfile, "mkdtemp", lambda prefix: _made(tmp_path / "work"))
    samples = np.random.default_rng(0).normal(0, 0.1, 8000).astype(np.float32)
    sound = make_sound(tmp_path / "sound.wav", samples)
    answer = ask(replica, sound.read_bytes())
    assert (answer.status_code, answer.media_type) == (200, "audio/wav")
    assert answer.headers["AVSE-Mode"] == "audio_only"
    assert answer.headers["AVSE-Fallback-Reason"] == "no_video"
    (tmp_path / "voice.wav").write_bytes(bytes(answer.body))
    assert read_audio(tmp_path / "voice.wav").n_samples == 8000
    assert ask(replica, b"no media").status_code == 422
    assert ask(replica, bytes(100_001)).status_code == 413
    assert not (tmp_path / "work").exists()


def _made(folder: Path) -> str:
    folder.mkdir()
    return str(folder)


def test_the_application_has_as_many_replicas_as_asked_for(ray_app: Any) -> None:
    deployment, (settings,) = ray_app.build({"n_replicas": "2"})
    assert deployment.kind is ray_app.EnhancerReplica
    assert deployment.given["num_replicas"] == 2
    assert "webhook_secret" not in settings
