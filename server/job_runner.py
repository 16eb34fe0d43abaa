"""One job from its input to its result: decode child, network, encode child."""

import contextlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from avse.types import EnhancedClip, EnhanceOptions, EnhanceReport
from preprocessing.types import PreparedClip
from server.batcher import Batcher, BatcherFull
from server.decode_pool import DecodePool
from server.enhanced_file import ENHANCED, write_enhanced
from server.face_tracks import described_tracks
from server.failures import JobCanceled, failure_of
from server.job_control import JobControl, Observations
from server.job_types import KINDS, Job, Kind
from server.jobs import JobStore
from server.model_shelf import ModelShelf
from server.networks import FACES, STAND_IN, HeadGroup
from server.prepared_file import PREPARED, read_prepared
from server.recognition import described, recognition_options
from server.results import VARIANTS
from server.settings import Settings
from server.spool import INPUT, PART_SUFFIX, Spool, part_path, put_in_place
from server.streams_file import STREAMS, read_streams

logger = logging.getLogger(__name__)

REPORT = "report.json"
_FULL_WAIT_S = 0.1
_STAGES = {"audio": "decode", "decode": "decode", "detect": "track", "mouth": "track"}

Outputs = dict[str, str]
Found = dict[str, Any]
JobBatcher = Batcher[Any, Any]


@dataclass(frozen=True, slots=True)
class Workshop:
    """What jobs are done with."""

    settings: Settings
    store: JobStore
    spool: Spool
    pool: DecodePool
    batcher: JobBatcher
    seen: Observations
    shelf: ModelShelf


class JobRunner:
    """Does jobs, each in the thread that calls it.

    Args:
        workshop: What they are done with.
        worker_id: Who holds them.
    """

    kinds: tuple[Kind, ...] = KINDS

    def __init__(self, workshop: Workshop, worker_id: str) -> None:
        """Keep both."""
        self._shop = workshop
        self._worker_id = worker_id
        is_real = not workshop.settings.stand_in_ms
        self._steps: Mapping[str, Callable[[JobControl, Path], tuple[Outputs, Found]]] = {
            "enhancement": self._enhance if is_real else self._stand_in,
            "faces": self._faces,
            "evaluation": self._evaluate,
            "gestures": self._recognise,
            "actions": self._recognise,
        }

    def run(self, control: JobControl) -> None:
        """Do a job and end it in the store, whatever happens."""
        job, store = control.job, self._shop.store
        folder = self._shop.spool.folder(job.id)
        try:
            outputs, result = self._steps[job.kind](control, folder)
        except JobCanceled:
            control.stop()
            self._end_canceled(job)
        except Exception as error:
            if control.is_stopped():
                self._end_canceled(job)
                return
            failure = failure_of(error)
            control.settle(
                lambda: store.fail(job.id, self._worker_id, failure.code, failure.detail)
            )
        else:
            control.settle(lambda: store.succeed(job.id, self._worker_id, outputs, result))
        finally:
            control.has_read()
            _tidy(folder)

    def _end_canceled(self, job: Job) -> None:
        try:
            self._shop.store.canceled(job.id, self._worker_id)
        except Exception:
            logger.exception("a canceled job was not ended; its lease will")

    def _enhance(self, control: JobControl, folder: Path) -> tuple[Outputs, Found]:
        options = control.job.options
        read = self._in_child("prepare", folder, options, control)
        control.has_read()
        clip = read_prepared(folder / PREPARED, folder / INPUT)
        enhanced = self._through_network(clip, options, control)
        write_enhanced(folder / ENHANCED, enhanced)
        wanted = {**options, "lead_samples": read["lead_samples"]}
        wanted["variants"] = _variants(control.job)
        written = self._in_child("encode", folder, wanted, control)
        report = _complete(enhanced.report, written)
        self._count(report, float(read["probe_s"]))
        control.warn(report.warnings)
        found = asdict(report)
        outputs = dict(written["outputs"])
        if not control.job.is_sync:
            outputs["report"] = _write_json(folder / REPORT, {"options": dict(options), **found})
        return outputs, {"report": found}

    def _stand_in(self, control: JobControl, folder: Path) -> tuple[Outputs, Found]:
        """The input as the result, after a place in a batch: for load tests."""
        control.has_read()
        self._submit(None, STAND_IN, 1.0, control)
        name = f"output.{control.job.options.get('output') or 'wav'}"
        shutil.copyfile(folder / INPUT, part_path(folder / name))
        put_in_place(part_path(folder / name), folder / name)
        variant = "video" if name.endswith("mp4") else "audio"
        return {variant: name}, {"report": {"path": "audio_only", "reason": "asked"}}

    def _faces(self, control: JobControl, folder: Path) -> tuple[Outputs, Found]:
        options = {"thumbnails": True, **control.job.options}
        read = self._in_child("prepare", folder, options, control)
        control.has_read()
        clip = read_prepared(folder / PREPARED, folder / INPUT)
        scores = self._submit(clip, FACES, clip.audio.duration_s, control)
        tracks = described_tracks(clip, scores, read.get("thumbnails", {}))
        control.warn(clip.source.warnings)
        found = {"duration": clip.audio.duration_s, "tracks": tracks}
        _write_json(folder / "faces.json", found)
        return {}, found

    def _evaluate(self, control: JobControl, folder: Path) -> tuple[Outputs, Found]:
        found = self._in_child("evaluate", folder, control.job.options, control)
        control.warn(found.get("warnings", ()))
        return {}, found

    def _recognise(self, control: JobControl, folder: Path) -> tuple[Outputs, Found]:
        """Gestures or actions: the head is in memory before its turn in the batcher comes."""
        options = control.job.options
        bundle = self._shop.shelf.folder(options["model"])
        choices = {**options, "bundle": str(bundle), "pose": self._shop.settings.pose}
        read = self._in_child("streams", folder, choices, control)
        control.has_read()
        head = self._shop.shelf.head(options["model"])
        prepared = read_streams(folder / STREAMS, head.bundle.settings.prepare)
        start = time.perf_counter()
        group = HeadGroup(options["model"], recognition_options(options))
        found = described(self._submit(prepared, group, prepared.duration_s, control))
        stage_s = {**read["stage_s"], "infer": time.perf_counter() - start}
        self._count_stages(stage_s, found["duration"])
        outputs = {} if control.job.is_sync else {"report": _write_json(folder / REPORT, found)}
        return outputs, found

    def _in_child(
        self, task: str, folder: Path, options: Mapping[str, Any], control: JobControl
    ) -> Found:
        """Do a task in a decode child, with the limits of this kind of call."""
        settings = self._shop.settings
        is_sync = control.job.is_sync
        limits = {
            "max_pixels": settings.max_pixels,
            "max_duration_s": settings.sync_max_s if is_sync else settings.job_max_s,
            "max_streams": settings.max_streams,
            "max_fps": settings.max_fps,
        }
        return self._shop.pool.run(
            task, folder, {**options, "limits": limits}, control.progress, control.is_stopped
        )

    def _through_network(
        self, clip: PreparedClip, options: Mapping[str, Any], control: JobControl
    ) -> EnhancedClip:
        chosen = EnhanceOptions(
            face=str(options.get("face") or "auto"),
            mode=options.get("mode") or "auto",
            strength=_strength(options),
        )
        group = (options.get("model"), chosen)
        enhanced: EnhancedClip = self._submit(clip, group, clip.audio.duration_s, control)
        return enhanced

    def _submit(self, clip: Any, group: Hashable, duration_s: float, control: JobControl) -> Any:
        """Wait for a place in a batch and for its result.

        Raises:
            JobCanceled: The job was stopped meanwhile.
        """
        control.progress("infer", 0.0)
        while not control.is_stopped():
            with contextlib.suppress(BatcherFull):
                return self._shop.batcher.submit(
                    clip,
                    group=group,
                    duration_s=duration_s,
                    on_progress=lambda fraction: control.progress("infer", fraction),
                    is_canceled=control.is_stopped,
                ).result()
            time.sleep(_FULL_WAIT_S)
        raise JobCanceled

    def _count(self, report: EnhanceReport, probe_s: float) -> None:
        """Values for /metrics."""
        seen = self._shop.seen
        stages: dict[str, float] = {"probe": probe_s}
        for name, spent in report.stage_s.items():
            stage = _STAGES.get(name, "infer" if name == "speaker" else name)
            stages[stage] = stages.get(stage, 0.0) + spent
        stages.pop("resample", None)
        self._count_stages(stages)
        seen.add("avse_rtf", report.real_time_factor)
        if report.reason is not None and report.reason != "asked":
            seen.add("avse_fallback_total", reason=report.reason)

    def _count_stages(self, stage_s: Mapping[str, float], duration_s: float = 0.0) -> None:
        """Seconds of each stage, and the clip's length by all of them where it is given."""
        for stage, spent in stage_s.items():
            self._shop.seen.add("avse_stage_seconds", spent, stage=stage)
        if duration_s:
            self._shop.seen.add("avse_rtf", duration_s / max(sum(stage_s.values()), 1e-9))


def _variants(job: Job) -> list[str]:
    """A call that waits gets the one file it asked for, a job all there are."""
    if not job.is_sync:
        return list(VARIANTS)
    return ["video"] if job.options.get("output") == "mp4" else ["audio"]


def _strength(options: Mapping[str, Any]) -> float:
    strength = options.get("strength")
    return 1.0 if strength is None else float(strength)


def _complete(report: EnhanceReport, written: Mapping[str, Any]) -> EnhanceReport:
    """The report with what the encoder spent and could not do."""
    stage_s = {**report.stage_s, **written["stage_s"]}
    factor = report.duration_s / max(sum(stage_s.values()), 1e-9)
    warnings = (*report.warnings, *written["warnings"])
    return replace(report, stage_s=stage_s, real_time_factor=factor, warnings=warnings)


def _write_json(path: Path, content: Mapping[str, Any]) -> str:
    part = part_path(path)
    part.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    put_in_place(part, path)
    return path.name


def _tidy(folder: Path) -> None:
    """Remove what was only for the way; the folder may be gone already."""
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            is_part = path.name.startswith(".") or path.name.endswith(PART_SUFFIX)
            if path.name in (PREPARED, ENHANCED, STREAMS) or is_part:
                path.unlink(missing_ok=True)
