"""The engine `ray` with a stand-in for Ray: same results, same books, lost workers."""

import os
import pickle
import sys
import types
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch

from avse.batch.errors import BatchStopped
from avse.batch.run import BatchOptions, run_batch
from avse.batch.runs import CORNER, LEDGER, Run
from avse.cli import run
from avse.errors import ConfigError
from tests.avse.batch_parts import (
    half_bundle,
    half_options,
    make_clips,
    prepared,
    tree,
    work,
)


class RayError(Exception):
    """What Ray raises where a worker is lost."""


class Reference:
    """An object of the cluster, or why there is none."""

    def __init__(self, make: Callable[[], Any]) -> None:
        try:
            self.value, self.error = make(), None
        except Exception as error:
            self.value, self.error = None, RayError(repr(error))


class Remote:
    """A task, or the class of an actor; everything happens at once."""

    def __init__(self, ray: "FakeRay", target: Any) -> None:
        self.ray, self.target, self.given = ray, target, {}

    def options(self, **given: Any) -> "Remote":
        self.given = given
        return self

    def remote(self, *arguments: Any) -> Any:
        self.ray.asked.append((self.target.__name__, self.given))
        if isinstance(self.target, type):
            return Actor(self.ray, Reference(lambda: self.target(*self.ray.plain(arguments))))
        both = Reference(lambda: self.ray.call(self.target, arguments))
        return [Reference(lambda index=index: self.ray.get(both)[index]) for index in range(2)]


class Actor:
    def __init__(self, ray: "FakeRay", made: Reference) -> None:
        self.ray, self.made = ray, made

    def __getattr__(self, name: str) -> Any:
        def remote(*arguments: Any) -> Reference:
            return Reference(lambda: self.ray.call(self._method(name), arguments, name))

        method = types.SimpleNamespace(remote=remote)
        method.options = lambda **given: method
        return method

    def _method(self, name: str) -> Any:
        return getattr(self.ray.get(self.made), name)


class FakeRay(types.ModuleType):
    """As much of Ray as is used, in this process."""

    def __init__(self) -> None:
        super().__init__("ray")
        self.__spec__ = ModuleSpec("ray", None)
        self.exceptions = types.SimpleNamespace(RayError=RayError)
        self.resources = {"CPU": 4.0}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.lost: dict[str, int] = {}
        self.n_shut_down = 0

    def call(self, target: Any, arguments: Any, name: str = "read_clip") -> Any:
        if self.lost.get(name, 0):
            self.lost[name] -= 1
            raise RuntimeError("killed")
        return target(*pickle.loads(pickle.dumps(self.plain(arguments))))

    def plain(self, arguments: Any) -> list[Any]:
        return [self.get(each) if isinstance(each, Reference) else each for each in arguments]

    def get(self, wanted: Any) -> Any:
        if isinstance(wanted, list):
            return [self.get(each) for each in wanted]
        if wanted.error is not None:
            raise wanted.error
        return wanted.value

    def wait(self, waiting: list[Any], *, num_returns: int, timeout: float) -> Any:
        return waiting[:num_returns], waiting[num_returns:]

    def kill(self, actor: Actor) -> None:
        if actor.made.error is None:
            assert actor.made.value._network.stop(60.0)
            assert actor.made.value._writing.stop(60.0)

    def put(self, value: Any) -> Reference:
        return Reference(lambda: value)

    def remote(self, target: Any) -> Remote:
        return Remote(self, target)

    def shutdown(self) -> None:
        self.n_shut_down += 1

    def is_initialized(self) -> bool:
        return False

    def init(self, **given: Any) -> None: ...

    def cluster_resources(self) -> dict[str, float]:
        return self.resources


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRay]:
    fake, n_threads, n_cv2 = FakeRay(), torch.get_num_threads(), cv2.getNumThreads()
    monkeypatch.setitem(sys.modules, "ray", fake)
    sys.modules.pop("avse.batch.ray_stages", None)
    yield fake
    sys.modules.pop("avse.batch.ray_stages", None)
    torch.set_num_threads(n_threads)
    cv2.setNumThreads(n_cv2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_clips(tmp_path / "in", "a/1.wav", "a/2.wav", "3.flac")
    (tmp_path / "in/bad.mp4").write_text("no clip")
    return tmp_path


def ray_options(folder: Path, **more: Any) -> BatchOptions:
    return half_options(folder / "out", folder / "in", engine="ray", **more)


def test_the_results_are_those_of_the_local_engine(ray: FakeRay, folder: Path) -> None:
    tally = run_batch(ray_options(folder)).tally
    assert (tally.n_done, tally.n_failed) == (3, 1)
    assert ray.n_shut_down == 1
    assert [path.name for path in (folder / "out" / CORNER).iterdir()] == [LEDGER]
    again = run_batch(half_options(folder / "out", folder / "in")).tally  # one record for both
    assert (again.n_done, again.n_skipped, again.n_failed_before) == (0, 3, 1)
    run_batch(half_options(folder / "alone", folder / "in"))
    found, expected = tree(folder / "out"), tree(folder / "alone")
    assert found.keys() == expected.keys()
    assert all(found[name] == expected[name] for name in found if name.endswith(".wav"))


@pytest.mark.parametrize("lost", ["read_clip", "enhance"])
def test_what_lost_workers_had_is_done_next_time(ray: FakeRay, folder: Path, lost: str) -> None:
    ray.lost = {lost: 99}
    first = run_batch(ray_options(folder))
    assert first.tally.n_failed == 4
    assert first.failures is not None
    assert '"worker_lost"' in first.failures.read_text()
    ray.lost = {}
    assert run_batch(ray_options(folder)).tally.n_done == 3


def test_another_actor_gets_what_one_lost(ray: FakeRay, folder: Path) -> None:
    ray.lost = {"enhance": 2}
    assert run_batch(ray_options(folder)).tally.n_done == 3


def test_no_cluster_stops_it(ray: FakeRay, folder: Path, monkeypatch) -> None:
    def init(**given: Any) -> None:
        raise ConnectionError("nobody there\nat all")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(BatchStopped, match=r"reached or started: nobody there$"):
        run_batch(ray_options(folder))


def test_actors_that_do_not_start_stop_it(ray: FakeRay, folder: Path) -> None:
    ray.lost = {"version": 9}
    with pytest.raises(BatchStopped, match="an actor did not start"):
        run_batch(ray_options(folder))
    assert ray.n_shut_down == 1


def test_an_actor_that_outlived_its_run_puts_nothing_in_place(ray: FakeRay, tmp_path) -> None:
    stages = import_module("avse.batch.ray_stages")
    dead, out_dir = Run(tmp_path), tmp_path / "out"
    actor = stages.Enhancing(half_bundle(), "cpu", "embedded", out_dir, dead.folder)
    (path,) = make_clips(tmp_path, "a.wav")
    first = actor.enhance(1, work(path, "1.wav"), prepared(path))
    assert [file.name for file in first.files] == ["1.wav"]
    os.close(dead._lock)
    Run(tmp_path).bury_dead(lambda run: None)
    late = actor.enhance(2, work(path, "2.wav"), prepared(path))
    assert late.failure.code == "output_error"
    assert list(tree(out_dir)) == ["1.wav"]
    with pytest.raises(FileNotFoundError):
        stages.Enhancing(half_bundle(), "cpu", "embedded", out_dir, dead.folder)
    actor._network.stop(60.0)
    actor._writing.stop(60.0)


def test_machines_with_another_avse_stop_it(ray: FakeRay, folder: Path, monkeypatch) -> None:
    versions = iter(["0.0.1", "0.0.2"])
    monkeypatch.setattr(ray, "call", lambda *given: next(versions))
    with pytest.raises(BatchStopped, match=r"everywhere, found 0\.0\.1, 0\.0\.2"):
        run_batch(ray_options(folder))


@pytest.mark.parametrize(
    ("resources", "device", "n_actors"),
    [({"CPU": 1.0}, "auto", 1), ({"CPU": 6.0}, "cpu", 3), ({"CPU": 8.0, "GPU": 2.0}, "cpu", 4)],
)
def test_actors_leave_room_to_read(ray, folder, resources, device, n_actors) -> None:
    ray.resources = resources
    run_batch(ray_options(folder, device=device, n_workers=0, limit=1))
    actors = [given for name, given in ray.asked if name == "Enhancing"]
    assert len(actors) == n_actors
    assert {given["num_cpus"] for given in actors} == {0}
    assert {given["num_gpus"] for given in actors} == {0}


@pytest.mark.parametrize("device", ["cuda", "cuda:1", "tpu"])
def test_a_device_the_cluster_has_not_is_refused(ray: FakeRay, folder: Path, device: str) -> None:
    with pytest.raises(ConfigError, match="device: expected auto, cpu or"):
        run_batch(ray_options(folder, device=device))


def test_without_ray_one_line_says_what_to_do(folder: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr("avse.batch.run.find_spec", lambda name: None)
    monkeypatch.chdir(folder)
    assert run(["batch", "in", "-o", "out", "--engine", "ray"]) == 2
    assert capsys.readouterr().err == "avse: engine: ray is not installed: ./setup.sh ray\n"


def test_a_url_is_no_folder(folder: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(folder)
    assert run(["batch", "in", "-o", "s3://bucket/out"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("avse: out: expected a folder (a bucket can be mounted as one), found")
    assert said.count("\n") == 1
    assert not (folder / "s3:").exists()
