"""How fast a clip is enhanced, stage by stage, and how much memory that takes."""

import resource
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from avse.bundle import DEFAULT_BUNDLE
from avse.demo import DemoConfig, make_demo_clip
from avse.enhancer import Enhancer
from avse.types import EnhancedClip, EnhanceOptions
from preprocessing.types import Progress, no_progress


@dataclass(frozen=True, slots=True)
class BenchmarkResult:
    """Times of one clip, medians over the runs.

    Attributes:
        clip: Which clip.
        duration_s: Its length.
        bundle: Weights and their sha256.
        device: Where the network ran.
        n_threads: Threads of torch.
        n_runs: Runs that were timed.
        open_s: Seconds to open bundle and networks, once.
        stage_s: Seconds by stage.
        wall_s: Seconds from call to result.
        cpu_s: Seconds of processor time, all threads together; on a busy machine these still hold.
        real_time_factor: Duration by wall time; 4.0 is four times faster than real time.
        peak_rss_mb: Largest resident memory of this program so far, in 10^6 bytes.
        path: `av`, `audio_only` or `mixed`.
    """

    clip: str
    duration_s: float
    bundle: str
    device: str
    n_threads: int
    n_runs: int
    open_s: float
    stage_s: dict[str, float]
    wall_s: float
    cpu_s: float
    real_time_factor: float
    peak_rss_mb: float
    path: str

    def as_dict(self) -> dict[str, Any]:
        """All figures, ready for JSON."""
        return asdict(self)


def make_hd_clip(path: Path, duration_s: float) -> Path:
    """Write a 1280x720 clip at 25 pictures a second, in a process of its own.

    What drawing and encoding take must not count as memory of the enhancement.

    Raises:
        OutputError: The clip cannot be written.
    """
    config = DemoConfig(duration_s=duration_s, is_hd=True)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(make_demo_clip, path, config).result().path


def run_benchmark(
    clip: Path,
    bundle: str | None = None,
    device: str = "auto",
    n_runs: int = 3,
    progress: Progress = no_progress,
) -> BenchmarkResult:
    """Enhance a clip several times without writing anything.

    Args:
        clip: Any clip.
        bundle: Name or folder of the weights; None takes the default.
        device: Where the network runs.
        n_runs: Timed runs, after none to warm up: the first one counts like the others.
        progress: Called as `("runs", done, n_runs)`.

    Raises:
        MediaError: The clip cannot be used.
        ModelError: The bundle or the device cannot be used.
    """
    start = time.perf_counter()
    enhancer = Enhancer(bundle or DEFAULT_BUNDLE, device=device)
    open_s = time.perf_counter() - start
    walls_s, cpus_s, results = [], [], []
    for done in range(n_runs):
        start, cpu_start = time.perf_counter(), time.process_time()
        results.append(_once(enhancer, clip))
        walls_s.append(time.perf_counter() - start)
        cpus_s.append(time.process_time() - cpu_start)
        progress("runs", done + 1, n_runs)
    reports = [result.report for result in results]
    wall_s = statistics.median(walls_s)
    return BenchmarkResult(
        clip=str(clip),
        duration_s=reports[0].duration_s,
        bundle=reports[0].bundle,
        device=reports[0].device,
        n_threads=torch.get_num_threads(),
        n_runs=n_runs,
        open_s=open_s,
        stage_s={
            stage: statistics.median(report.stage_s.get(stage, 0.0) for report in reports)
            for stage in reports[0].stage_s
        },
        wall_s=wall_s,
        cpu_s=statistics.median(cpus_s),
        real_time_factor=reports[0].duration_s / wall_s,
        peak_rss_mb=peak_rss_mb(),
        path=reports[0].path,
    )


def peak_rss_mb() -> float:
    """Largest resident memory of this process so far, 10^6 bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else 1024 * peak) / 1e6


def _once(enhancer: Enhancer, clip: Path) -> EnhancedClip:
    result = enhancer.enhance_file(clip, None, EnhanceOptions(keep_mask=False))
    return result[0] if isinstance(result, list) else result
