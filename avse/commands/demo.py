"""`avse demo`: the whole product on a clip that it makes itself, with scores."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avse.commands.console import Bars, make_table, say, show

if TYPE_CHECKING:
    from avse.demo import DemoResult

METRIC_NAMES = {"pesq_wb": "PESQ-WB", "stoi": "STOI", "si_sdr_db": "SI-SDR (dB)"}
HONESTY = (
    "The clip is synthetic: a public-domain portrait (scikit-image's astronaut, NASA) whose mouth "
    "follows a formant synthesiser, a second such voice and noise. It shows that everything "
    "works; the scores on real recordings stand in the README."
)


def demo(
    out_dir: Annotated[
        Path, typer.Option("--out", "-o", file_okay=False, help="Where the files go.")
    ] = Path("avse-demo"),
    bundle: Annotated[
        str | None, typer.Option(help="Name or folder of the weights; see `avse models`.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Another seed speaks other syllables.")] = 0,
) -> None:
    """Make a noisy talking-head clip, enhance it and print the scores before and after."""
    from avse.demo import DemoConfig, run_demo

    config = DemoConfig(seed=seed)
    out_dir.mkdir(parents=True, exist_ok=True)
    with Bars() as bars:
        result = run_demo(out_dir, config, bundle, device, bars)
    scores = {"before": asdict(result.before), "after": asdict(result.after)}
    (out_dir / "scores.json").write_text(json.dumps(scores, indent=2) + "\n", encoding="utf-8")
    title = (
        f"Synthetic clip: speaker {config.interferer_db:g} dB over a second voice, "
        f"{config.noise_db:g} dB over noise"
    )
    _print(result, title)


def _print(result: "DemoResult", title: str) -> None:
    report = result.enhanced.report
    rows = []
    for metric, name in METRIC_NAMES.items():
        before, after = result.before.values[metric], result.after.values[metric]
        if before is None or after is None:
            reasons = result.before.reasons | result.after.reasons
            rows.append([name, "not available", "not available", reasons.get(metric, "")])
        else:
            rows.append([name, f"{before:.2f}", f"{after:.2f}", f"{after - before:+.2f}"])
    show(make_table(title, ["", "before", "after", "change"], rows))
    say(
        f"{report.bundle} on {report.device}: path {report.path}, "
        f"mouth seen {report.face_s:.1f} of {report.duration_s:.1f} s, "
        f"{report.real_time_factor:.1f} x real time"
    )
    for path in result.files:
        say(f"  {path}")
    say(HONESTY)
