"""Networks on the shelf: loaded once, one at a time, unloaded when idle, faults reported."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.errors import BundleNotFound, ChecksumMismatch
from server import model_shelf
from server.catalogue import Catalogue
from server.model_shelf import ModelShelf, ShelfConfig
from tests.server.head_parts import describe_head
from tests.server.worker_parts import wait_for


class Opened:
    """Stands in for every network and counts how often it was opened."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.go = threading.Event()
        self.go.set()
        self.error: Exception | None = None

    def __call__(self, folder: Path, *_: Any) -> object:
        self.names.append(folder.name)
        assert self.go.wait(60)
        if self.error is not None:
            raise self.error
        return object()


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Opened:
    opened = Opened()
    monkeypatch.setattr(model_shelf, "open_recogniser", opened)
    monkeypatch.setattr(model_shelf, "open_enhancer", lambda *_: object())
    return opened


Make = Callable[..., ModelShelf]


@pytest.fixture
def told() -> list[tuple[str, str, str]]:
    return []


@pytest.fixture
def make(opened: Opened, told: list[tuple[str, str, str]], tmp_path: Path) -> Make:
    describe_head(tmp_path, "hands", "gesture")
    describe_head(tmp_path, "bodies", "action")
    describe_head(tmp_path, "voice", "enhancement")
    catalogue = Catalogue("voice", [tmp_path])

    def make(**choices: Any) -> ModelShelf:
        config = ShelfConfig("cpu", **choices)
        return ModelShelf(catalogue, config, lambda *said: told.append(said))

    return make


def test_a_head_is_opened_once_and_let_go(
    make: Make, opened: Opened, told: list[tuple[str, str, str]]
) -> None:
    shelf = make()
    assert shelf.loaded_ids() == []
    first = shelf.head("hands")
    assert shelf.head("hands") is first
    assert (opened.names, shelf.loaded_ids()) == (["hands"], ["hands"])
    shelf.unload("hands")
    shelf.unload("hands")
    shelf.unload("nothing")
    assert shelf.loaded_ids() == []
    assert [status for _, status, _ in told] == ["loading", "ready", "available"]
    assert shelf.head("hands") is not first


def test_what_a_bundle_does_decides_what_it_is_taken_for(make: Make) -> None:
    shelf = make()
    for wrong in ("voice", "nothing", "lip-sync"):
        with pytest.raises(BundleNotFound):
            shelf.head(wrong)
    with pytest.raises(BundleNotFound):
        shelf.get("hands")
    with pytest.raises(BundleNotFound):
        shelf.load("face-detector")
    assert shelf.folder("bodies").name == "bodies"
    assert shelf.get() is shelf.get("voice")


def test_a_head_on_its_way_keeps_nobody_from_another_model(make: Make, opened: Opened) -> None:
    shelf = make()
    opened.go.clear()
    waiting = [threading.Thread(target=shelf.head, args=["hands"]) for _ in range(3)]
    for thread in waiting:
        thread.start()
    wait_for(lambda: opened.names == ["hands"])
    assert shelf.get() is not None
    assert shelf.loaded_ids() == ["voice"]
    assert shelf.idle_ids() == []
    opened.go.set()
    for thread in waiting:
        thread.join(60)
    assert opened.names == ["hands"]


def test_heads_have_a_time_to_live_of_their_own(make: Make) -> None:
    shelf = make(head_ttl_s=0.05)
    shelf.head("hands")
    shelf.get()
    wait_for(lambda: shelf.idle_ids() == ["hands"])
    shelf.head("hands")  # used again: not idle any more
    assert make(head_ttl_s=0.0).idle_ids() == []
    shelf.unload("hands")
    time.sleep(0.06)
    assert shelf.idle_ids() == []


def test_wishes_and_faults(make: Make, opened: Opened, told: list[tuple[str, str, str]]) -> None:
    shelf = make()
    wishes = {"hands": True, "bodies": False}
    assert shelf.differs(wishes) == [("hands", True)]
    opened.error = ChecksumMismatch("other weights")
    with pytest.raises(ChecksumMismatch):
        shelf.load("hands")
    opened.error = RuntimeError("a fault")
    with pytest.raises(RuntimeError):
        shelf.load("bodies")
    assert [said for said in told if said[1] == "failed"] == [
        ("hands", "failed", "checksum_mismatch"),
        ("bodies", "failed", "internal"),
    ]
    opened.error = None
    shelf.load("hands")
    assert shelf.differs(wishes) == []
