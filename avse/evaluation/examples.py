"""The best, the median and the worst mixture of a system, as spectrograms."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from avse.evaluation.charts import png
from avse.evaluation.lips import Sight
from avse.evaluation.mixtures import Corpus, condition, plan_mixtures
from avse.evaluation.rows import Row
from avse.evaluation.systems import System
from avse.plots import FLOOR_DB, log_spectrogram
from preprocessing.media import read_audio
from preprocessing.types import Waveform

RANKS = {"best": -1, "median": None, "worst": 0}


def example_pictures(
    rows: Sequence[Row], system: System, corpus: Corpus, sight: Sight, seed: int
) -> dict[str, bytes]:
    """Mixture, output and clean voice of three pairs, chosen by their gain of STOI.

    Args:
        rows: Of one split and condition, of the system with its own lips.
        system: Runs once more on the three.
        corpus: The mixtures are made from.
        sight: Gives the mouths.
        seed: Of the mixtures.

    Returns:
        PNGs by file name; none without rows.
    """
    ranked = [(gain, row) for row in rows if (gain := row.value("stoi_gain")) is not None]
    ranked.sort(key=lambda pair: pair[0])
    pictures = {}
    for name, place in RANKS.items() if ranked else ():
        gain, row = ranked[len(ranked) // 2 if place is None else place]
        sounds = _heard(row, system, corpus, sight, seed)
        title = f"{name}: {Path(row.facts.clip).stem}, STOI {row.value('stoi_in'):.3f} {gain:+.3f}"
        pictures[f"example-{row.facts.split}-{row.facts.condition}-{name}.png"] = _picture(
            sounds, title
        )
    return pictures


def _heard(
    row: Row, system: System, corpus: Corpus, sight: Sight, seed: int
) -> dict[str, Waveform]:
    facts = row.facts
    plans = plan_mixtures(corpus, condition(facts.condition, facts.split, seed))
    plan = next(plan for plan in plans if plan.facts.clip == facts.clip)
    trial = plan.render(read_audio)
    assert trial.noisy is not None
    mouth, _ = sight.mouth(facts, "own", trial.noisy.n_samples)
    return {
        "mixture": trial.noisy,
        "enhanced": system.enhance(trial.noisy, mouth),
        "clean": trial.clean,
    }


def _picture(sounds: dict[str, Waveform], title: str) -> bytes:
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    peak_db = max(float(log_spectrogram(sound)[0].max()) for sound in sounds.values())
    for axis, (name, sound) in zip(figure.subplots(1, 3, sharey=True), sounds.items(), strict=True):
        levels, _ = log_spectrogram(sound)
        extent = (0.0, sound.duration_s, 0.0, sound.sample_rate_hz / 2000)
        axis.imshow(
            levels, origin="lower", aspect="auto", cmap="magma", extent=extent,
            vmin=peak_db + FLOOR_DB, vmax=peak_db,
        )  # fmt: skip
        axis.set(title=name, xlabel="time (s)")
    figure.axes[0].set_ylabel("kHz")
    figure.suptitle(title)
    return png(figure)
