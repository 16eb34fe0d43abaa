"""A worker without a model: a thread that takes jobs from the store and writes small files.

What it does with a job is told by the first bytes of the upload: `FAIL code` fails with that code,
`SLOW seconds` takes so long, `DIE` leaves the job without a word as a killed process would,
`WARN` adds a warning; anything else succeeds at once.
"""

import json
import threading
import time
import wave
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from server.job_types import Job, Observation
from server.jobs import JobStore
from server.spool import Spool

KINDS = ("enhancement", "faces", "evaluation", "gestures", "actions")
JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9")
_POLL_S = 0.01
_BEAT_S = 0.2


class FakeWorker:
    """Works on jobs in a thread as long as the `with` block lasts.

    Args:
        spool: Where inputs and outputs lie.
        store: Where jobs are.
        worker_id: Its name.
        model_id: The model it says is ready.
    """

    def __init__(
        self,
        spool: Spool,
        store: JobStore,
        worker_id: str = "fake",
        model_id: str = "avse-mmtm",
    ) -> None:
        self.spool, self.store = spool, store
        self.worker_id, self.model_id = worker_id, model_id
        self.seen: list[Job] = []
        self._is_paused = threading.Event()
        self._has_paused = threading.Event()
        self._is_over = threading.Event()
        self._hurries = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._beat_at_s = 0.0
        self._to_cancel: set[str] = set()

    def __enter__(self) -> Self:
        self.store.set_model_status(self.model_id, "ready")
        self.store.worker_state(self.worker_id, "ready", 1)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self._thread.join(timeout=30)

    def pause(self) -> None:
        """Take no more jobs; returns when that is so."""
        self._is_paused.set()
        self._has_paused.wait(30)

    def go_on(self) -> None:
        """Take jobs again."""
        self._is_paused.clear()
        self._has_paused.clear()

    def hurry(self) -> None:
        """End what is slow, now and from now on."""
        self._hurries.set()

    def _run(self) -> None:
        while not self._is_over.is_set():
            self._beat()
            self._follow_wishes()
            job = None if self._rests() else self.store.claim(self.worker_id, KINDS)
            if job is None:
                time.sleep(_POLL_S)
                continue
            self.seen.append(job)
            with suppress(FileNotFoundError):  # deleted meanwhile
                self._work(job)

    def _rests(self) -> bool:
        if self._is_paused.is_set():
            self._has_paused.set()
        return self._is_paused.is_set()

    def _beat(self) -> None:
        if time.monotonic() - self._beat_at_s >= _BEAT_S:
            self._beat_at_s = time.monotonic()
            self.store.worker_state(self.worker_id, "ready", 1)
            self._to_cancel = set(self.store.heartbeat(self.worker_id))

    def _follow_wishes(self) -> None:
        for model_id, is_wanted in self.store.wanted_models().items():
            wanted = "ready" if is_wanted else "available"
            if self.store.model_statuses()[model_id].status not in (wanted, "failed"):
                self.store.set_model_status(model_id, wanted)  # type: ignore[arg-type]

    def _work(self, job: Job) -> None:
        first = "reference" if job.kind == "evaluation" else "input"
        said = self.spool.input_path(job.id, first).read_bytes()[:64]
        order, _, argument = said.decode("latin-1").strip().partition(" ")
        if order == "DIE":
            self.store.lose_worker(self.worker_id)
            return
        if order == "FAIL":
            self.store.fail(job.id, self.worker_id, argument, "as the test asked")
            return
        if order == "WARN":
            self.store.warn(job.id, self.worker_id, "a warning")
        if not self._pass_time(job, float(argument) if order == "SLOW" else 0.0):
            return
        self._finish(job)

    def _pass_time(self, job: Job, seconds: float) -> bool:
        """Say how far it is; False if the job was canceled or taken away."""
        end_s = time.monotonic() + seconds
        for stage, fraction in (("probe", 0.1), ("track", 0.5), ("infer", 0.9)):
            if not self.store.set_progress(job.id, self.worker_id, stage, fraction):
                return False
        while time.monotonic() < end_s and not (self._is_over.is_set() or self._hurries.is_set()):
            self._beat()
            if job.id in self._to_cancel:
                self.store.canceled(job.id, self.worker_id)
                return False
            if job.id not in self.store.held(self.worker_id):
                return False
            time.sleep(_POLL_S)
        return True

    def _finish(self, job: Job) -> None:
        results = {
            "faces": self._faces,
            "evaluation": self._scores,
            "gestures": self._segments,
            "actions": self._segments,
        }
        outputs, result = results.get(job.kind, self._enhance)(job)
        seen = [
            Observation("avse_stage_seconds", 0.01, {"stage": "infer"}),
            Observation("avse_batch_size", 1.0),
        ]
        self.store.observe(seen)
        self.store.succeed(job.id, self.worker_id, outputs, result)

    def _enhance(self, job: Job) -> tuple[dict[str, str], dict[str, Any]]:
        suffix = job.options["output"] if job.options["output"] != "mp4" else "wav"
        outputs = {"audio": f"output.{suffix}", "report": "report.json"}
        report = {"path": "audio_only", "reason": "no_video", "target_track_id": None}
        result = {"report": {**report, "stage_s": {"decode": 0.01}}}
        self._sound(self.spool.output_path(job.id, outputs["audio"]))
        self.spool.output_path(job.id, "report.json").write_text(json.dumps(result["report"]))
        if job.options["output"] == "mp4":
            outputs["video"] = "video.mp4"
            self.spool.output_path(job.id, "video.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
        return outputs, result

    @staticmethod
    def _sound(path: Path) -> None:
        # A folder that is gone is met by `open`: a half-made Wave_write complains when collected.
        with path.open("wb") as file, wave.open(file, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(2)
            sound.setframerate(16_000)
            sound.writeframes(b"\0\0" * 1600)

    def _faces(self, job: Job) -> tuple[dict[str, str], dict[str, Any]]:
        thumbnail = None
        if job.options["thumbnails"]:
            thumbnail = "thumbs/0.jpg"
            path = self.spool.output_path(job.id, thumbnail)
            path.parent.mkdir()
            path.write_bytes(JPEG)
        track = {"id": 0, "start": 0.0, "end": 1.0, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.9}
        track |= {"speaking_score": 0.5, "thumbnail": thumbnail}
        return {}, {"duration": 1.0, "tracks": [track]}

    @staticmethod
    def _segments(job: Job) -> tuple[dict[str, str], dict[str, Any]]:
        best = [{"label": "wave", "score": 0.75}, {"label": "clap", "score": 0.25}]
        segment = {"start": 0.0, "end": 1.0, **best[0], "top_k": best[: job.options["top_k"]]}
        found = {"model": job.options["model"], "duration": 1.0, "segments": [segment]}
        return {}, {**found, "streams": ["depth"], "notes": []}

    @staticmethod
    def _scores(job: Job) -> tuple[dict[str, str], dict[str, Any]]:
        scores = {"pesq": 2.0, "stoi": 0.9, "si_sdr": 10.0}
        return {}, {
            **scores,
            "duration": 1.0,
            "noisy": scores if job.options["has_noisy"] else None,
        }
