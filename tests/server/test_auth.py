"""Keys: hashed, with scopes; another key's jobs do not exist."""

import json
import os
from pathlib import Path

import pytest

from server.keys import InvalidKeyFile, KeyRing, add_key, hash_key, main, read_keys
from tests.server.conftest import Start


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_only_hashes_are_stored(key_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(key_file), "alice"]) == 0
    key = capsys.readouterr().out.strip()
    admin = add_key(key_file, "root", ["enhance", "admin"])
    text = key_file.read_text()
    assert key not in text
    assert admin not in text
    assert key_file.stat().st_mode & 0o077 == 0
    callers = read_keys(key_file)
    assert callers[hash_key(key)].scopes == {"enhance"}
    assert callers[hash_key(admin)].is_admin
    assert main([]) == 2
    with pytest.raises(InvalidKeyFile):
        add_key(key_file, "x", ["everything"])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"keys": [{}]}',
        '{"keys": [{"id": "a", "hash": "md5:1", "scopes": []}]}',
        json.dumps({"keys": [{"id": "", "hash": hash_key("x"), "scopes": []}]}),
        json.dumps({"keys": [{"id": "a", "hash": hash_key("x"), "scopes": ["all"]}]}),
    ],
)
def test_a_wrong_key_file_stops_the_start(key_file: Path, text: str) -> None:
    key_file.write_text(text)
    with pytest.raises(InvalidKeyFile):
        KeyRing(key_file)


def test_keys_are_read_again_when_the_file_changes(key_file: Path) -> None:
    key = add_key(key_file, "a", ["enhance"])
    ring = KeyRing(key_file)
    assert ring.find(key) is not None
    key_file.write_text('{"keys": []}')
    os.utime(key_file, ns=(1, 1))
    assert ring.find(key) is None
    key_file.write_text("broken")
    assert ring.find(key) is None


def test_who_may_do_what(start: Start, key_file: Path) -> None:
    alice, bob, root, nobody = (
        {"Authorization": f"Bearer {add_key(key_file, name, scopes)}"}
        for name, scopes in [
            ("alice", ["enhance"]),
            ("bob", ["enhance"]),
            ("root", ["enhance", "admin"]),
            ("nobody", []),
        ]
    )
    running = start(key_file=key_file)
    get = running.client.get
    without = get("/v1/jobs")
    assert (without.status_code, without.json()["code"]) == (401, "unauthenticated")
    assert without.headers["www-authenticate"].startswith("Bearer")
    for headers in ({"Authorization": "Bearer no"}, {"X-API-Key": "no"}, {"Authorization": "x"}):
        assert get("/v1/jobs", headers=headers).status_code == 401
    assert get("/v1/jobs", headers=nobody).status_code == 403
    assert running.post("/v1/audio/enhancements").status_code == 401

    job = running.post("/v1/jobs", headers=alice).json()["id"]
    for path in (f"/v1/jobs/{job}", f"/v1/jobs/{job}/events", f"/v1/jobs/{job}/content"):
        assert get(path, headers=bob).status_code == 404
        assert get(path, headers={"Prefer": "wait=30", **alice}).status_code == 200
    assert running.client.delete(f"/v1/jobs/{job}", headers=bob).status_code == 404
    assert running.client.post(f"/v1/jobs/{job}/cancel", headers=bob).status_code == 404
    assert get("/v1/jobs", headers=bob).json()["items"] == []
    assert get("/v1/jobs", headers=bob, params={"after": job}).status_code == 404
    assert len(get("/v1/jobs", headers=root).json()["items"]) == 1
    plain = {"X-API-Key": alice["Authorization"].removeprefix("Bearer ")}
    assert len(get("/v1/jobs", headers=plain).json()["items"]) == 1

    load = "/v1/models/face-detector/load"
    assert running.client.post(load, headers=alice).status_code == 403
    assert running.client.post(load, headers=root).status_code == 409
    for path in ("/v1/health/live", "/v1/metadata", "/metrics", "/openapi.json"):
        assert get(path).status_code == 200
    assert get("/v1/metadata").json()["key_needed"]


def test_numbers_can_be_kept_from_others(start: Start, key_file: Path) -> None:
    user, root = (
        {"X-API-Key": add_key(key_file, name, scopes)}
        for name, scopes in [("user", ["enhance"]), ("root", ["admin"])]
    )
    running = start(key_file=key_file, metrics_need_key=True)
    assert running.client.get("/metrics").status_code == 401
    assert running.client.get("/metrics", headers=user).status_code == 403
    assert running.client.get("/metrics", headers=root).status_code == 200


def test_the_same_idempotency_key_of_two_callers(start: Start, key_file: Path) -> None:
    keys = [add_key(key_file, name, ["enhance"]) for name in ("a", "b")]
    running = start(key_file=key_file)
    made = {
        running.post("/v1/jobs", headers={"X-API-Key": key, "Idempotency-Key": "k"}).json()["id"]
        for key in keys
    }
    assert len(made) == 2
