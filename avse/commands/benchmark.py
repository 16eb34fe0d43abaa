"""`avse benchmark`: milliseconds by stage, real-time factor and peak memory."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from avse.commands.console import Bars, make_table, say, show

if TYPE_CHECKING:
    from avse.benchmark import BenchmarkResult


def benchmark(
    clip: Annotated[
        Path | None, typer.Argument(help="Without one, a 1280x720 clip at 25 fps is made.")
    ] = None,
    n_runs: Annotated[int, typer.Option("--runs", min=1, help="Medians of so many runs.")] = 3,
    duration_s: Annotated[
        float, typer.Option("--seconds", min=1.0, help="Length of the clip that is made.")
    ] = 30.0,
    n_threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads of torch; default: its own.")
    ] = None,
    bundle: Annotated[
        str | None, typer.Option(help="Name or folder of the weights; see `avse models`.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    is_json: Annotated[bool, typer.Option("--json", help="All figures as JSON.")] = False,
) -> None:
    """Time the enhancement of a clip."""
    with TemporaryDirectory() as folder, Bars() as bars:
        from avse.benchmark import make_hd_clip, run_benchmark

        if n_threads is not None:
            import torch

            torch.set_num_threads(n_threads)
        source = clip or make_hd_clip(Path(folder) / "made-1280x720.mp4", duration_s)
        result = run_benchmark(source, bundle, device, n_runs, bars)
    if is_json:
        say(json.dumps(result.as_dict(), indent=2))
    else:
        _print(result)


def _print(result: "BenchmarkResult") -> None:
    rows = [[stage, *_times(seconds, result)] for stage, seconds in result.stage_s.items()]
    rows.append(["all", *_times(result.wall_s, result)])
    title = f"{Path(result.clip).name}, {result.duration_s:.1f} s, path {result.path}"
    show(make_table(title, ["stage", "ms", "ms for each second of clip", "share"], rows))
    say(
        f"{result.real_time_factor:.1f} x real time, {result.cpu_s:.1f} s of processor time, "
        f"at most {result.peak_rss_mb:.0f} MB, "
        f"opened in {result.open_s:.1f} s; {result.bundle} on {result.device}, "
        f"{result.n_threads} threads, median of {result.n_runs}"
    )


def _times(seconds: float, result: "BenchmarkResult") -> list[str]:
    return [
        f"{1000 * seconds:.0f}",
        f"{1000 * seconds / result.duration_s:.1f}",
        f"{100 * seconds / result.wall_s:.0f} %",
    ]
