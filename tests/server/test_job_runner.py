"""Whole jobs, their children's tasks done in place: files, reports, failures, cancellation."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from preprocessing.media import probe, read_audio
from server.batcher import BatchConfig, Batcher
from server.catalogue import Catalogue
from server.failures import JobCanceled
from server.job_control import JobControl, Observations
from server.job_runner import JobRunner, Workshop
from server.job_types import Job
from server.jobs import JobStore
from server.model_shelf import ModelShelf, ShelfConfig
from server.networks import Networks, StandIn
from server.spool import Spool
from tests.media_factory import ClipSpec, make_clip, make_sound
from tests.server import worker_parts
from tests.server.worker_parts import InlinePool, put_job

WORKER = "worker_test"


@dataclass
class Bench:
    """A runner and everything around it."""

    store: JobStore
    spool: Spool
    pool: InlinePool
    seen: Observations
    runner: JobRunner
    clips: Path

    def add(self, file: Path, **options: Any) -> Job:
        files = {"input": file} if isinstance(file, Path) else file
        put_job(self.store, self.spool, files, **options)
        job = self.store.claim(WORKER, self.runner.kinds)
        assert job is not None
        return job

    def do(self, file: Any, **options: Any) -> Job:
        job = self.add(file, **options)
        self.runner.run(JobControl(job, self.store, WORKER))
        found = self.store.get(job.id)
        assert found is not None
        return found

    def path(self, job: Job, variant: str) -> Path:
        return self.spool.folder(job.id) / job.outputs[variant]


def make_bench(root: Path, **changes: Any) -> Bench:
    settings = worker_parts.settings(root, **changes)
    spool = Spool(settings.spool_dir)
    store = JobStore(spool.database_path)
    shelf = ModelShelf(Catalogue(settings.model), ShelfConfig("cpu"))
    run = StandIn(0.001) if settings.stand_in_ms else Networks(shelf, "cpu")
    batcher: Batcher[Any, Any] = Batcher(run, BatchConfig(wait_s=0.0))
    pool, seen = InlinePool(), Observations()
    shop = Workshop(settings, store, spool, pool, batcher, seen, shelf)  # type: ignore[arg-type]
    return Bench(store, spool, pool, seen, JobRunner(shop, WORKER), root)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = make_bench(tmp_path_factory.mktemp("bench"))
    yield bench
    bench.store.close()


@pytest.fixture(scope="module")
def sound(bench: Bench) -> Path:
    samples = np.random.default_rng(0).normal(0, 0.1, (2, 48_000)).astype(np.float32)
    return make_sound(bench.clips / "sound.wav", samples, 48_000, layout="stereo")


def test_a_job_gives_every_file(bench: Bench) -> None:
    clip = worker_parts.face_clip(bench.clips)
    job = bench.do(clip)
    assert (job.status, job.code) == ("succeeded", None)
    assert set(job.outputs) == {"audio", "video", "input_audio", "mask", "report"}
    assert {path.name for path in bench.spool.folder(job.id).iterdir()} == {
        "input", "output.wav", "video.mp4", "input_audio.wav", "mask.png", "report.json"
    }  # fmt: skip
    report = job.result["report"]
    assert (report["path"], report["target_track_id"]) == ("av", 1)
    assert json.loads(bench.path(job, "report").read_text()).items() >= report.items()
    source, video = read_audio(clip), read_audio(bench.path(job, "video"))
    assert read_audio(bench.path(job, "audio")).n_samples == source.n_samples
    assert read_audio(bench.path(job, "input_audio")).n_samples == source.n_samples
    assert video.duration_s == pytest.approx(source.duration_s, abs=0.1)
    assert probe(bench.path(job, "video")).has_video
    assert cv2.imread(str(bench.path(job, "mask"))).shape[1] > 500
    stages = [event.payload.get("stage") for event in bench.store.events(job.id)]
    assert list(dict.fromkeys(stages)) == [
        "probe", "decode", "track", "infer", "encode", "mux", None
    ]  # fmt: skip
    names = {observation.name for observation in bench.seen._kept}
    assert {"avse_stage_seconds", "avse_rtf"} <= names


def test_a_call_that_waits_gets_one_file(bench: Bench, sound: Path) -> None:
    job = bench.do(sound, is_sync=True, output="flac", strength=0.0)
    assert job.outputs == {"audio": "output.flac"}
    assert job.result["report"]["reason"] == "no_video"
    given, kept = read_audio(sound), read_audio(bench.path(job, "audio"))
    np.testing.assert_allclose(kept.samples, given.samples, atol=2e-3)


def test_the_inputs_own_rate_and_a_part_of_it(bench: Bench, sound: Path) -> None:
    job = bench.do(sound, sample_rate="input", start=0.23, end=0.75, strength=0.0)
    assert job.status == "succeeded"
    native = read_audio(sound, native=True)
    for variant in ("audio", "input_audio"):
        part = read_audio(bench.path(job, variant), native=True)
        assert part.sample_rate_hz == 48_000
        assert part.duration_s == pytest.approx(0.52, abs=0.001)
        wanted = native.samples[round(0.23 * 48_000) :][: part.n_samples]
        np.testing.assert_allclose(part.samples[2000:-2000], wanted[2000:-2000], atol=0.02)


def test_faces_have_boxes_scores_and_pictures(bench: Bench) -> None:
    job = bench.do(worker_parts.face_clip(bench.clips), kind="faces")
    (track,) = job.result["tracks"]
    assert (track["id"], track["start"]) == (1, 0.0)
    assert track["speaking_score"] is not None
    assert len(track["bbox"]) == 4
    picture = cv2.imread(str(bench.spool.folder(job.id) / track["thumbnail"]))
    assert picture.shape == (160, 160, 3)
    x, y, width, height = track["bbox"]
    again = bench.do(
        worker_parts.face_clip(bench.clips), face=f"{x},{y},{width},{height}@{track['time']}"
    )
    assert again.result["report"]["target_track_id"] == 1


def test_a_sound_has_no_faces_and_no_picture(bench: Bench, sound: Path) -> None:
    assert bench.do(sound, kind="faces").result["tracks"] == []
    job = bench.do(sound, is_sync=True, output="mp4")
    assert (job.status, job.code) == ("failed", "invalid_request")
    assert "video" not in bench.do(sound).outputs


def test_evaluation(bench: Bench, sound: Path) -> None:
    job = bench.do({"reference": sound, "estimate": sound}, kind="evaluation")
    assert job.result["si_sdr"] == 100.0


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"mode": "av"}, "face_not_found"),
        ({"face": "7"}, "face_not_found"),
        ({"audio_track": 3}, "no_audio"),
        ({"model": "nothing"}, "model_not_found"),
        ({"start": 50.0}, "too_short"),
    ],
)
def test_what_cannot_be_done_has_a_code(bench: Bench, options: dict[str, Any], code: str) -> None:
    clip = make_clip(bench.clips / "flashes.mp4", ClipSpec())
    job = bench.do(clip, **options)
    assert (job.status, job.code) == ("failed", code)
    assert [path.name for path in bench.spool.folder(job.id).iterdir()] == ["input"]


def test_length_limits_differ_by_kind_of_call(tmp_path: Path, sound: Path) -> None:
    bench = make_bench(tmp_path, sync_max_s=0.5)
    assert bench.do(sound, is_sync=True).code == "too_long"
    assert bench.do(sound).status == "succeeded"


def test_a_fault_of_ours_is_internal_and_says_nothing(bench: Bench, sound: Path) -> None:
    bench.pool.failures.append(RuntimeError("/secret/path"))
    job = bench.do(sound)
    assert (job.status, job.code) == ("failed", "internal")
    assert "secret" not in (job.detail or "")


def test_canceled_and_lost_jobs_end_as_such(bench: Bench, sound: Path) -> None:
    job = bench.add(sound)
    bench.store.cancel(job.id)
    control = JobControl(job, bench.store, WORKER)
    control.stop()
    bench.runner.run(control)
    found = bench.store.get(job.id)
    assert found is not None
    assert found.status == "canceled"
    lost = bench.add(sound)
    bench.store.delete(lost.id)
    bench.spool.delete(lost.id)
    control = JobControl(lost, bench.store, WORKER)
    bench.runner.run(control)
    assert control.is_stopped()
    assert bench.store.get(lost.id) is None


def test_a_child_that_stops_for_a_cancellation(bench: Bench, sound: Path) -> None:
    bench.pool.failures.append(JobCanceled())
    assert bench.do(sound).status == "canceled"


def test_the_stand_in_gives_the_input_back(tmp_path: Path, sound: Path) -> None:
    bench = make_bench(tmp_path, stand_in_ms=1.0)
    job = bench.do(sound, is_sync=True)
    assert bench.path(job, "audio").read_bytes() == sound.read_bytes()
    assert bench.pool.tasks == []


def test_clips_of_several_jobs_together_give_what_each_gives_alone(bench: Bench) -> None:
    shelf = ModelShelf(Catalogue(worker_parts.settings(bench.clips).model), ShelfConfig("cpu"))
    shelf._config = ShelfConfig("cpu", batch_windows=4)
    networks = Networks(shelf, "cpu")
    clips = [worker_parts.prepared(n) for n in (10, 12, 10)]
    from avse.types import EnhanceOptions

    group = (None, EnhanceOptions())
    together = networks(group, clips, lambda fraction: None)
    for clip, joint in zip(clips, together, strict=True):
        (alone,) = networks(group, [clip], lambda fraction: None)
        np.testing.assert_allclose(joint.waveform.samples, alone.waveform.samples, atol=1e-5)
