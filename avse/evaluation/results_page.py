"""One page that says how good the enhancer is: goals, tables, curves, controls and examples."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from avse.evaluation.charts import charts
from avse.evaluation.disturbances import robustness_controls
from avse.evaluation.evaluate import EvaluateOptions, run_evaluation, write_whole
from avse.evaluation.examples import example_pictures
from avse.evaluation.goals import BABBLES, Judged, goals, goals_table, table_3
from avse.evaluation.lips import CropCache, Sight, mouth_track
from avse.evaluation.mixtures import Corpus, condition, plan_mixtures
from avse.evaluation.network import NetworkSystem, open_networks
from avse.evaluation.pages import TableParts, html_page, markdown_page
from avse.evaluation.provenance import provenance
from avse.evaluation.report import groups_table, main_table, tests_table
from avse.evaluation.rows import Row
from avse.evaluation.sound_disturbances import sound_controls
from avse.evaluation.summary import summarise
from avse.evaluation.training_curves import training_curves
from preprocessing.media import read_audio
from preprocessing.mouth_clarity import load_mouth_clarity
from preprocessing.types import Progress, Waveform, no_progress

CONDITIONS = ("three_paper", "two_0db", *BABBLES, "clean")
CONTROLS = ("own", "wrong_person", "none")
N_SILENT = 40


@dataclass(frozen=True, slots=True)
class ResultsOptions:
    """What the page is made from.

    Attributes:
        out: Folder of the page, its rows and pictures.
        data_dir: Folder with `av.csv` and `audio.csv`.
        crops: Folder of cached mouth crops.
        bundles: The one that ships first, then the others in the order they should come out.
        runs: Run folders whose training curves are drawn.
        voicebank: A VoiceBank+DEMAND folder, for the goal without a mouth.
        limit: At most so many mixtures a condition.
        limit_robust: At most so many mixtures for disturbed sight and sound, each.
        seed: Of mixtures and intervals.
        n_workers: Processes that score; 0 = see `Cores`, 1 = score where the network runs.
    """

    out: Path
    data_dir: Path
    crops: Path
    bundles: tuple[str, ...] = ("avse-mmtm",)
    runs: tuple[Path, ...] = ()
    voicebank: Path | None = None
    limit: int | None = None
    limit_robust: int | None = 60
    seed: int = 0
    n_workers: int = 0


def results(options: ResultsOptions, progress: Progress = no_progress) -> dict[str, Path]:
    """Evaluate, judge the goals, and write `results.html`, `.md` and `.json`.

    Args:
        options: What to do.
        progress: Called as (stage, done, total), stages named for the parts.

    Returns:
        The files by name.

    Raises:
        InvalidOptions, ManifestError, ModelError, OutputError: As `run_evaluation`.
    """
    systems = open_networks(options.bundles)
    parts = [_mixtures, _baselines, _robustness, _voicebank]
    rows = [row for part in parts for row in part(options, systems, progress)]
    main = systems[0]
    judged = Judged(
        tuple(rows),
        main.name,
        tuple(system.name for system in systems),
        tuple(_silent_targets(options, main, progress)),
    )
    return _write(options, judged, systems, _disturbed_sound(options, systems, progress))


def _run(options: ResultsOptions, name: str, **more: Any) -> EvaluateOptions:
    base = EvaluateOptions(
        options.out / name, options.data_dir, crops=options.crops, seed=options.seed,
        limit=options.limit, n_workers=options.n_workers,
    )  # fmt: skip
    return replace(base, **more)


def _evaluated(
    options: EvaluateOptions, systems: Sequence[NetworkSystem], progress: Progress
) -> tuple[Row, ...]:
    def named(stage: str, done: float, total: float) -> None:
        progress(options.out.name, done, total)

    return run_evaluation(options, named, systems=systems).rows


def _mixtures(
    options: ResultsOptions, systems: Sequence[NetworkSystem], progress: Progress
) -> tuple[Row, ...]:
    chosen = _run(
        options, "mixtures", splits=("test", "elsewhere"), conditions=CONDITIONS, lips=CONTROLS
    )
    return _evaluated(chosen, systems[:1], progress)


def _baselines(
    options: ResultsOptions, systems: Sequence[NetworkSystem], progress: Progress
) -> tuple[Row, ...]:
    if len(systems) == 1:
        return ()
    chosen = _run(options, "baselines", conditions=("three_paper", "two_0db"))
    rows = _evaluated(chosen, systems[1:], progress)
    return tuple(row for row in rows if row.system != "mixture")


def _robustness(
    options: ResultsOptions, systems: Sequence[NetworkSystem], progress: Progress
) -> tuple[Row, ...]:
    chosen = _disturbed(options, "robustness", lips=robustness_controls())
    rows = _evaluated(chosen, systems[:1], progress)
    return tuple(row for row in rows if ":" in row.lips)


def _disturbed_sound(
    options: ResultsOptions, systems: Sequence[NetworkSystem], progress: Progress
) -> tuple[Row, ...]:
    """Rows of a table of their own: the goals are about mixtures as they are."""
    chosen = _disturbed(options, "sound", sound=sound_controls())
    return _evaluated(chosen, systems[:1], progress)


def _disturbed(options: ResultsOptions, name: str, **more: Any) -> EvaluateOptions:
    limits = [n for n in (options.limit, options.limit_robust) if n is not None]
    limit = min(limits, default=None)
    return _run(options, name, conditions=("two_0db",), limit=limit, **more)


def _voicebank(
    options: ResultsOptions, systems: Sequence[NetworkSystem], progress: Progress
) -> tuple[Row, ...]:
    if options.voicebank is None:
        return ()
    chosen = EvaluateOptions(
        options.out / "voicebank", pairs=options.voicebank, limit=options.limit,
        n_workers=options.n_workers,
    )  # fmt: skip
    return _evaluated(chosen, systems[:1], progress)


def _silent_targets(
    options: ResultsOptions, system: NetworkSystem, progress: Progress
) -> list[float]:
    """Level out against in, dB, where another voice speaks and the visible mouth does not.

    The mouth is that of one picture, repeated: it stands still.
    """
    corpus = Corpus.read(options.data_dir)
    sight = Sight(CropCache(options.crops), corpus, options.seed, load_mouth_clarity())
    n_most = min(options.limit or N_SILENT, N_SILENT)
    plans = plan_mixtures(corpus, condition("two_0db", "test", options.seed), n_most)
    kept = []
    for n_done, plan in enumerate(plans, 1):
        trial = plan.render(read_audio)
        assert trial.noisy is not None
        other = Waveform(trial.noisy.samples - trial.clean.samples, trial.noisy.sample_rate_hz)
        mouth, _ = sight.mouth(plan.facts, "own", other.n_samples)
        assert mouth is not None
        n_frames = len(mouth.crops)
        still = mouth_track(np.repeat(mouth.crops[:1], n_frames, 0), np.ones(n_frames))
        heard = system.enhance(other, still)
        kept.append(20 * float(np.log10(_rms(heard) / _rms(other))))
        progress("silent targets", n_done, len(plans))
    return kept


def _rms(sound: Waveform) -> float:
    return float(np.sqrt(np.mean(np.square(sound.samples, dtype=np.float64))) + 1e-9)


def _write(
    options: ResultsOptions,
    judged: Judged,
    systems: Sequence[NetworkSystem],
    by_sound: Sequence[Row],
) -> dict[str, Path]:
    found = goals(judged)
    facts = provenance(**_given(options), systems=[f"{s.name} ({s.label})" for s in systems])
    summary = summarise(judged.rows, options.seed)
    tables: dict[str, TableParts] = {
        "Goals": goals_table(found),
        "The paper's table 3 beside ours": table_3(judged, {s.name: s.fusion for s in systems}),
        "Systems, conditions and lips": main_table(summary),
        "Disturbed sound": main_table(summarise(by_sound, options.seed)),
        "Paired differences": tests_table(summary),
        "Groups": groups_table(summary),
    }
    pictures = _pictures(options, judged, systems[0])
    document = {"facts": facts, "goals": [asdict(goal) for goal in found]}
    texts = {
        "results.html": html_page("Results", tables, pictures, facts),
        "results.md": markdown_page("Results", dict(list(tables.items())[:4]), facts),
        "results.json": json.dumps(document, indent=1, default=str) + "\n",
    }
    contents = {name: text.encode() for name, text in texts.items()} | pictures
    for name, content in contents.items():
        write_whole(options.out / name, content)
    return {name: options.out / name for name in contents}


def _given(options: ResultsOptions) -> dict[str, Any]:
    given = asdict(options)
    return {name: value for name, value in given.items() if value not in (None, ())}


def _pictures(options: ResultsOptions, judged: Judged, system: NetworkSystem) -> dict[str, bytes]:
    shown = [row for row in judged.rows if row.facts.split != "pairs"]
    pictures = charts(shown)
    curves = training_curves(options.runs)
    if curves:
        pictures["training.png"] = curves
    corpus = Corpus.read(options.data_dir)
    sight = Sight(CropCache(options.crops), corpus, options.seed, load_mouth_clarity())
    for split in ("test", "elsewhere"):
        rows = judged.of(split, "two_0db", "own", system.name)
        pictures |= example_pictures(rows, system, corpus, sight, options.seed)
    return pictures
