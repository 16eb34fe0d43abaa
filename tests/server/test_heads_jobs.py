"""Whole jobs of tiny recognition heads, their children's tasks done in place; bad input."""

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avse.recognition import Recogniser, RecognitionOptions
from preprocessing.stream_config import StreamConfig
from preprocessing.streams import PreparedStreams
from server.array_file import ArrayFileInvalid, read_arrays, write_arrays
from server.batcher import BatchConfig, Batcher
from server.catalogue import catalogue_of
from server.job_control import JobControl, Observations
from server.job_runner import JobRunner, Workshop
from server.job_types import Job
from server.jobs import JobStore
from server.model_shelf import ModelShelf, ShelfConfig
from server.networks import HeadGroup, Networks
from server.spool import Spool
from server.streams_file import STREAMS, read_streams, write_streams
from tests.media_factory import ClipSpec, make_clip, make_sound
from tests.server import worker_parts
from tests.server.head_parts import LABELS, N_JOINTS, SIDE_PX, tiny_heads, write_skeleton
from tests.server.worker_parts import InlinePool, put_job

WORKER = "worker_test"
COMMON = {"top_k": 5, "window_s": None, "stride_s": None, "threshold": 0.0, "has_skeleton": False}


class Bench:
    """A runner with two tiny heads."""

    def __init__(self, root: Path) -> None:
        heads = tiny_heads(root / "heads")
        settings = worker_parts.settings(root, **heads)
        self.spool = Spool(settings.spool_dir)
        self.store = JobStore(self.spool.database_path)
        self.shelf = ModelShelf(catalogue_of(settings), ShelfConfig("cpu"))
        self.networks = Networks(self.shelf, "cpu")
        batcher = Batcher(self.networks, BatchConfig(wait_s=0.0))
        self.seen, self.pool = Observations(), InlinePool()
        shop = Workshop(settings, self.store, self.spool, self.pool, batcher, self.seen, self.shelf)  # type: ignore[arg-type]
        self.runner = JobRunner(shop, WORKER)
        self.clip = make_clip(root / "clip.mp4", ClipSpec())
        self.skeleton = write_skeleton(root / "skeleton")

    def do(
        self, kind: str, files: dict[str, Path], *, is_sync: bool = False, **more: object
    ) -> Job:
        model = "hands" if kind == "gestures" else "bodies"
        options = {**COMMON, "model": model, "has_skeleton": "skeleton" in files, **more}
        put_job(self.store, self.spool, files, kind, is_sync=is_sync, **options)  # type: ignore[arg-type]
        job = self.store.claim(WORKER, self.runner.kinds)
        assert job is not None
        self.runner.run(JobControl(job, self.store, WORKER))
        found = self.store.get(job.id)
        assert found is not None
        return found


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("bench"))
    yield bench
    bench.store.close()


def test_gestures_of_a_clip(bench: Bench) -> None:
    job = bench.do("gestures", {"input": bench.clip}, top_k=2)
    assert (job.status, job.detail) == ("succeeded", None)
    found = job.result
    assert set(found) == {"model", "duration", "segments", "streams", "notes"}
    assert found["model"] == "hands"
    assert found["segments"][0]["start"] == 0.0
    assert found["segments"][-1]["end"] == pytest.approx(found["duration"], abs=1e-3)
    for segment in found["segments"]:
        assert segment["label"] in LABELS
        assert len(segment["top_k"]) == 2
        assert segment["top_k"][0] == {"label": segment["label"], "score": segment["score"]}
    folder = bench.spool.folder(job.id)
    assert {path.name for path in folder.iterdir()} == {"input", "report.json"}
    assert json.loads((folder / "report.json").read_text()) == found
    names = {(each.name, each.labels.get("stage")) for each in bench.seen._kept}
    assert {("avse_stage_seconds", "infer"), ("avse_rtf", None)} <= names


def test_the_service_finds_what_the_library_finds(bench: Bench) -> None:
    job = bench.do("gestures", {"input": bench.clip}, is_sync=True, window_s=0.5, stride_s=0.25)
    assert job.outputs == {}
    recogniser = Recogniser(bench.shelf.folder("hands"), device="cpu")
    alone = recogniser.recognise_file(bench.clip, RecognitionOptions(window_s=0.5, stride_s=0.25))
    assert job.result == json.loads(alone.to_json())


def test_actions_with_and_without_a_skeleton(bench: Bench) -> None:
    with_skeleton = bench.do("actions", {"input": bench.clip, "skeleton": bench.skeleton})
    assert with_skeleton.result["streams"] == ["depth", "skeleton"]
    without = bench.do("actions", {"input": bench.clip})
    assert without.result["streams"] == ["depth"]
    assert any("skeleton" in note for note in without.result["notes"])
    assert bench.do("actions", {"input": bench.clip}, threshold=1.0).result["segments"] == []


def test_what_the_pictures_are_can_be_said(bench: Bench) -> None:
    depth = bench.do("gestures", {"input": bench.clip}, picture="depth").result
    colour = bench.do("gestures", {"input": bench.clip}, picture="colour").result
    assert (depth["streams"], depth["notes"]) == (["depth", "flow"], [])
    assert colour["streams"] == ["flow"]
    assert any("depth" in note for note in colour["notes"])


class SwayingPose:
    """Finds one body in every picture."""

    name = "swaying"

    def estimate(self, image: np.ndarray, time_s: float) -> np.ndarray:
        return np.full((1, N_JOINTS, 3), time_s, np.float32)


def test_the_operators_pose_estimator_stands_in_for_a_skeleton(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(
        "preprocessing.pose.make_pose_estimator", lambda name: asked.append(name) or SwayingPose()
    )
    shop = bench.runner._shop
    chosen = shop.settings.model_copy(update={"pose": "mediapipe"})
    monkeypatch.setattr(bench.runner, "_shop", replace(shop, settings=chosen))
    assert bench.do("actions", {"input": bench.clip}).result["streams"] == ["depth", "skeleton"]
    assert bench.do("gestures", {"input": bench.clip}).status == "succeeded"
    sent = bench.do("actions", {"input": bench.clip, "skeleton": bench.skeleton})
    assert sent.result["streams"] == ["depth", "skeleton"]
    assert asked == ["mediapipe"]


def _zipped(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("skeleton.npy", content)
    return packed.getvalue()


def _saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


BODY = np.zeros((9, N_JOINTS, 3), np.float32)
BAD_SKELETONS = {
    "nothing": b"\0",
    "words": b"not a skeleton",
    "pickle_alone": b"\x80\x04K\x01.",
    "npy_cut_short": _saved(BODY)[:-10],
    "zip_of_words": _zipped(b"not a skeleton"),
    "zip_cut_short": _zipped(_saved(BODY))[:-30],
    "zip_torn": b"PK\x03\x04" + b"\xff" * 200,
    "zip_of_nothing": b"PK\x05\x06" + b"\0" * 18,
    "pickle": _saved(np.array([{}], object)),
    "text": _saved(np.array(["a"])),
    "flat": _saved(np.zeros(7)),
    "no_frames": _saved(BODY[:0]),
    "other_joints": _saved(np.zeros((9, N_JOINTS + 1, 3))),
    "nan": _saved(np.full_like(BODY, np.nan)),
    "huge": _saved(np.full_like(BODY, 1e30)),
}


@pytest.mark.parametrize("name", BAD_SKELETONS)
def test_a_bad_skeleton_is_the_callers_fault(bench: Bench, tmp_path: Path, name: str) -> None:
    path = tmp_path / "bad"
    path.write_bytes(BAD_SKELETONS[name])
    job = bench.do("actions", {"input": bench.clip, "skeleton": path})
    assert (job.status, job.code) == ("failed", "undecodable")
    assert str(bench.spool.root) not in (job.detail or "")
    assert {path.name for path in bench.spool.folder(job.id).iterdir()} == {"input", "skeleton"}


def test_a_clip_without_pictures_is_the_callers_fault(bench: Bench, tmp_path: Path) -> None:
    sound = make_sound(tmp_path / "sound.wav", np.zeros(16_000, np.float32))
    text = tmp_path / "text"
    text.write_bytes(b"no clip" * 100)
    for path in (sound, text):
        job = bench.do("gestures", {"input": path})
        assert job.status == "failed"
        assert job.code in ("undecodable", "unsupported_container"), job.detail


def test_a_head_that_is_gone_or_broken(bench: Bench) -> None:
    assert bench.do("gestures", {"input": bench.clip}, model="nothing").code == "model_not_found"
    weights = bench.shelf.folder("hands") / "weights.safetensors"
    content = weights.read_bytes()
    bench.shelf.unload("hands")
    weights.write_bytes(b"others")
    assert bench.do("gestures", {"input": bench.clip}).code == "internal"
    weights.write_bytes(content)
    assert bench.do("gestures", {"input": bench.clip}).status == "succeeded"


def prepared(n_pictures: int = 12) -> PreparedStreams:
    generator = np.random.default_rng(0)
    depth = generator.integers(0, 256, (n_pictures, SIDE_PX, SIDE_PX)).astype(np.uint8)
    flow = generator.integers(-127, 128, (n_pictures, SIDE_PX, SIDE_PX, 2)).astype(np.int8)
    times_s = np.arange(n_pictures) / 15
    return PreparedStreams(times_s, n_pictures / 15, {"depth": depth, "flow": flow}, notes=("a",))


def test_clips_of_several_jobs_together_give_what_each_gives_alone(bench: Bench) -> None:
    group = HeadGroup("hands", RecognitionOptions())
    clips, told = [prepared(12), prepared(20)], []
    together = bench.networks(group, clips, told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert together == [bench.networks(group, [clip], lambda _: None)[0] for clip in clips]


CONFIG = StreamConfig(streams=("depth", "flow"), size_px=SIDE_PX)


def test_streams_come_back_as_they_were(tmp_path: Path) -> None:
    path, given = tmp_path / STREAMS, prepared()
    write_streams(path, given)
    found = read_streams(path, CONFIG)
    assert (found.duration_s, found.notes, found.streams) == (
        given.duration_s, given.notes, given.streams
    )  # fmt: skip
    np.testing.assert_array_equal(found.times_s, given.times_s)
    for name, array in given.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)


def test_only_what_the_head_looks_at_is_taken(tmp_path: Path) -> None:
    path = tmp_path / STREAMS
    write_streams(path, prepared())
    with pytest.raises(ArrayFileInvalid):
        read_streams(path, replace(CONFIG, size_px=16))
    assert read_streams(path, replace(CONFIG, streams=("flow",))).streams == ("flow",)
    arrays, header = read_arrays(path)
    for changes in (
        {"flow": np.array(arrays["flow"], np.float32)},
        {"flow": np.array(arrays["flow"][:5])},
        {"times_s": np.full(12, np.nan)},
        {"times_s": np.zeros(12, np.float32)},
    ):
        write_arrays(path, {**arrays, **changes}, header)
        with pytest.raises(ArrayFileInvalid):
            read_streams(path, CONFIG)
    for changes in ({"duration_s": -1.0}, {"duration_s": "long"}, {"streams": []}, {"notes": 7}):
        write_arrays(path, arrays, {**header, **changes})
        with pytest.raises(ArrayFileInvalid):
            read_streams(path, CONFIG)
