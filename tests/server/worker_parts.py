"""What the tests of the model process share: a tiny bundle, made clips, a pool without children."""

import functools
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from avse.bundle import EnhancementSettings
from avse.demo import DemoConfig, make_demo_clip
from models.avse_config import AvseConfig
from models.avse_net import AvseNet
from models.visual_tower import VisualTowerConfig
from models.weights import BundleSpec, save_bundle
from preprocessing.types import (
    FaceTrack,
    MouthTrack,
    PreparedClip,
    SourceInfo,
    Waveform,
    no_progress,
)
from server.child_tasks import TASKS, ChildContext, open_context
from server.failures import JobCanceled, JobFailed, failure_of
from server.job_types import Job, Kind, NewJob
from server.jobs import JobStore
from server.settings import Settings
from server.spool import Spool

TIMEOUT_S = 300
TINY = AvseConfig(
    visual=VisualTowerConfig(widths=(2, 2, 2, 2), input_px=16),
    encoder_widths=(4, 4, 4, 4),
    n_bottleneck=8,
    dilations=(1,),
)


def tiny_bundle(folder: Path, name: str = "tiny") -> Path:
    """A bundle with random weights."""
    torch.manual_seed(0)
    spec = BundleSpec(
        name, "enhancement", "avse_net", asdict(TINY), asdict(EnhancementSettings()), {}
    )
    save_bundle(folder / name, spec, AvseNet(TINY))
    return folder / name


@functools.cache
def context() -> ChildContext:
    return open_context("embedded")


@functools.cache
def _face_clip(folder: str) -> Path:
    return make_demo_clip(Path(folder) / "face.mp4", DemoConfig(duration_s=1.0)).path


def face_clip(folder: Path) -> Path:
    """A second of a talking portrait, made once."""
    return _face_clip(str(folder))


def prepared(n_pictures: int = 10, start_s: float = 0.5) -> PreparedClip:
    """A clip with one face, its mouth hidden in the last picture."""
    generator = np.random.default_rng(1)
    audio = generator.normal(0, 0.1, n_pictures * 640 - 100).astype(np.float32)
    boxes = generator.uniform(0, 50, (n_pictures, 4)).astype(np.float32)
    boxes[:, 2:] += 60
    track = FaceTrack(
        2,
        np.arange(n_pictures),
        start_s + np.arange(n_pictures) / 25,
        boxes,
        np.linspace(0, 1, n_pictures, dtype=np.float32),
    )
    is_visible = np.ones(n_pictures, np.bool_)
    is_visible[-1] = False
    crops = generator.integers(0, 256, (n_pictures, 122, 122)).astype(np.uint8)
    landmarks = np.full((n_pictures, 20, 2), np.nan, np.float32)
    mouth = MouthTrack(crops, is_visible, start_s, landmarks, ~is_visible)
    source = SourceInfo(Path("folder/input"), "mov", 48_000, 2, 1, True, 25.0, ("a warning",))
    audio_track = Waveform(audio, 16_000, start_s)
    return PreparedClip(audio_track, (track,), {2: mouth}, source, n_pictures, 1, {"decode": 0.5})


class InlinePool:
    """Does the children's tasks in the caller's thread, without limits."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.tasks: list[str] = []

    def run(
        self,
        task: str,
        folder: Path,
        options: Mapping[str, Any],
        progress: Callable[[str, float, float], None] = no_progress,
        is_canceled: Callable[[], bool] = lambda: False,
    ) -> dict[str, Any]:
        self.tasks.append(task)
        if self.failures:
            raise self.failures.pop(0)
        try:
            result = TASKS[task](folder, options, context(), progress)
        except Exception as error:
            failure = failure_of(error)
            raise JobFailed(failure.code, failure.detail) from error
        if is_canceled():
            raise JobCanceled
        return result


def settings(root: Path, **changes: Any) -> Settings:
    """Settings with the tiny bundle."""
    bundle = root / "bundles" / "tiny"
    if not bundle.exists():
        tiny_bundle(root / "bundles")
    return Settings(spool_dir=root / "spool", model=str(bundle), device="cpu", **changes)


def put_job(
    store: JobStore,
    spool: Spool,
    files: Mapping[str, Path],
    kind: Kind = "enhancement",
    *,
    is_sync: bool = False,
    **options: Any,
) -> Job:
    """A job with its inputs in place."""
    new = NewJob(
        kind=kind,
        options=options,
        is_sync=is_sync,
        priority=10 if is_sync else 0,
        max_attempts=1 if is_sync else 3,
    )
    folder = spool.create(new.id)
    for name, path in files.items():
        shutil.copyfile(path, folder / name)
    return store.create(new)


class LivingPool(InlinePool):
    """An `InlinePool` with the life of a real one, for a whole model process."""

    is_ready = True

    def __init__(self, *failures: Exception) -> None:
        super().__init__(*failures)
        self.on_exit: Callable[[str], None] = lambda reason: None
        self.is_closed = False

    def tend(self) -> None:
        pass

    def close(self) -> None:
        self.is_closed = True


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until a condition holds, for a long time."""
    for _ in range(TIMEOUT_S * 50):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come about")
