"""Stage (a): every clip decoded, followed and cropped once; the crops and the sound on disk."""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avse.training.manifest import ClipEntry
from preprocessing.errors import MediaError
from preprocessing.pipeline import PipelineConfig, prepare
from preprocessing.types import Progress, no_progress

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CachedClip:
    """One clip as training reads it.

    Attributes:
        entry: Where it comes from.
        crops: `[V, 122, 122]` uint8.
        is_visible: `[V]` bool.
        samples: `[L]` float32, 16 kHz.
    """

    entry: ClipEntry
    crops: NDArray[np.uint8]
    is_visible: NDArray[np.bool_]
    samples: NDArray[np.float32]


def cache_path(cache_dir: Path, clip_path: str) -> Path:
    """Where a clip's crops and sound are kept."""
    return cache_dir / (clip_path.replace("/", "__") + ".npz")


def cache_clips(
    data_dir: Path,
    cache_dir: Path,
    entries: Sequence[ClipEntry],
    *,
    n_workers: int = 2,
    progress: Progress = no_progress,
) -> dict[str, str]:
    """Crop every clip that is not in the cache yet.

    Returns:
        Clips that could not be used, with the reason.
    """
    cache_dir.mkdir(parents=True, exist_ok=True)
    missing = [e.path for e in entries if not cache_path(cache_dir, e.path).is_file()]
    failures: dict[str, str] = {}
    context = get_context("spawn")
    with ProcessPoolExecutor(n_workers, context, _start_worker) as pool:
        jobs = {pool.submit(_cache_one, data_dir, cache_dir, path): path for path in missing}
        for n_done, job in enumerate(as_completed(jobs), 1):
            reason = job.result()
            if reason:
                failures[jobs[job]] = reason
            progress("crops", n_done, len(missing))
    return failures


def load_cached(cache_dir: Path, entries: Sequence[ClipEntry]) -> list[CachedClip]:
    """The cached clips of these entries; those that failed to cache are left out (and logged)."""
    clips = []
    for entry in entries:
        path = cache_path(cache_dir, entry.path)
        if not path.is_file():
            log.warning("%s: not in the cache", entry.path)
            continue
        with np.load(path) as arrays:
            samples = arrays["samples"].astype(np.float32) / 32767
            clips.append(CachedClip(entry, arrays["crops"], arrays["is_visible"], samples))
    return clips


def _start_worker() -> None:
    torch.set_num_threads(1)


def _cache_one(data_dir: Path, cache_dir: Path, clip_path: str) -> str:
    try:
        prepared = prepare(data_dir / clip_path, PipelineConfig())
    except MediaError as error:
        return str(error)
    if not prepared.tracks:
        return "no face"
    track = max(prepared.tracks, key=lambda t: _area(t.boxes_xyxy) * len(t.scores))
    mouth = prepared.mouths[track.track_id]
    target = cache_path(cache_dir, clip_path)
    partial = target.with_suffix(f".{os.getpid()}.partial.npz")
    samples = np.clip(np.round(prepared.audio.samples * 32767), -32767, 32767).astype(np.int16)
    np.savez(partial, crops=mouth.crops, is_visible=mouth.is_visible, samples=samples)
    partial.replace(target)
    return ""


def _area(boxes_xyxy: NDArray[np.float32]) -> float:
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    return float(np.median(sides[:, 0] * sides[:, 1]))
