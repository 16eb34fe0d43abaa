"""One call from options to a folder of results: what `avse evaluate` runs."""

import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from avse.device import resolve_device
from avse.evaluation.charts import charts
from avse.evaluation.cores import Cores
from avse.evaluation.dnsmos import DNSMOS, is_installed
from avse.evaluation.errors import InvalidOptions
from avse.evaluation.layouts import plan_layout
from avse.evaluation.lips import (
    LIPS_CONTROLS,
    CropCache,
    CropsFor,
    LipsControl,
    Sight,
    check_control,
)
from avse.evaluation.metrics import ALL_METRICS, METRICS
from avse.evaluation.mixtures import Corpus, MixtureSpec, condition, plan_mixtures
from avse.evaluation.network import open_networks
from avse.evaluation.pairs import plan_pairs
from avse.evaluation.provenance import provenance
from avse.evaluation.report import markdown, page
from avse.evaluation.rows import Row, metrics_of, rows_csv
from avse.evaluation.run import RunOptions, run_trials
from avse.evaluation.sound_disturbances import DisturbedPlan, parse_sound_disturbance
from avse.evaluation.summary import Summary, summarise
from avse.evaluation.systems import MIXTURE, CommandSystem, System
from avse.evaluation.trials import TrialPlan
from preprocessing.errors import OutputError
from preprocessing.mouth_clarity import load_mouth_clarity
from preprocessing.types import Progress, no_progress

SHOWN_CONDITIONS = ("two_0db", "three_paper")
SHOWN_SPLITS = ("test", "elsewhere")


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What to compare on what.

    Mixtures are built from `data_dir`, or pairs read from `reference` with `estimate` or `noisy`,
    or from `pairs`.

    Attributes:
        out: Folder of the results, made if it is not there.
        data_dir: Folder with `av.csv` and `audio.csv`.
        splits: Whose clips are mixed.
        conditions: Names of standard conditions, see `mixtures.condition`.
        talkers: With `snr_db`: a condition of your own instead of `conditions`.
        snr_db: Range of that condition.
        noise: Noise of that condition: `any`, a class or a data set of `audio.csv`, or a folder.
        reference: Folder of clean sounds.
        estimate: Folder of finished outputs.
        noisy: Folder of noisy sounds for the systems.
        pairs: Manifest or test set, see `avse.evaluation.layouts`.
        bundles: Names or folders of bundles.
        compare: Commands `[NAME=]program {in} {out}`.
        crops: Folder of cached mouth crops.
        lips: Which mouths to show.
        sound: What every mixture goes through as well, such as `opus:24`, one after the other;
            the mixtures as they are come first.
        seed: Of the mixtures and the bootstrap.
        limit: At most so many pairs for each split and condition.
        metrics: Which of `ALL_METRICS`.
        n_workers: Processes that score; 0 = see `Cores`, 1 = score where the network runs.
        device: For bundles.
    """

    out: Path
    data_dir: Path | None = None
    splits: tuple[str, ...] = ("test",)
    conditions: tuple[str, ...] = SHOWN_CONDITIONS
    talkers: int | None = None
    snr_db: tuple[float, float] | None = None
    noise: str | None = None
    reference: Path | None = None
    estimate: Path | None = None
    noisy: Path | None = None
    pairs: Path | None = None
    bundles: tuple[str, ...] = ()
    compare: tuple[str, ...] = ()
    crops: Path | None = None
    lips: tuple[LipsControl, ...] = ("own",)
    sound: tuple[str, ...] = ()
    seed: int = 0
    limit: int | None = None
    metrics: tuple[str, ...] = METRICS
    n_workers: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        """Check the contract.

        Raises:
            InvalidOptions: Neither or both kinds of input, or an unknown name.
        """
        if [self.data_dir, self.reference, self.pairs].count(None) != 2:
            raise InvalidOptions("expected either a data folder to mix or a folder of references")
        if not self.lips:
            raise InvalidOptions(f"lips: expected some of {', '.join(LIPS_CONTROLS)}, got none")
        for control in self.lips:
            check_control(control)
        for control in self.sound:
            parse_sound_disturbance(control)
        if not self.metrics or set(self.metrics) - set(ALL_METRICS):
            known = ", ".join(ALL_METRICS)
            raise InvalidOptions(f"metrics: expected some of {known}, got {self.metrics}")
        if set(self.metrics) & set(DNSMOS) and not is_installed():
            raise InvalidOptions("DNSMOS: the package speechmos is not installed (extra dnsmos)")
        if (self.talkers is None) and (self.snr_db is not None or self.noise is not None):
            raise InvalidOptions("snr and noise: expected the number of talkers, too")
        if self.limit is not None and self.limit < 1:
            raise InvalidOptions(f"limit: expected 1 or more, got {self.limit}")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came out.

    Attributes:
        rows: One for each pair and system.
        summary: The tables.
        facts: How it came about.
        files: What was written.
    """

    rows: tuple[Row, ...]
    summary: Summary
    facts: dict[str, Any]
    files: dict[str, Path] = field(default_factory=dict)


def run_evaluation(
    options: EvaluateOptions,
    progress: Progress = no_progress,
    *,
    systems: Sequence[System] | None = None,
    crops_for: CropsFor | None = None,
) -> Evaluation:
    """Evaluate and write rows, summary, pictures and report into `options.out`.

    Args:
        options: What to do.
        progress: Called with the stage "evaluate" and pairs done.
        systems: Instead of the bundles and commands of the options.
        crops_for: Mouths by clip path; by default the cache of `options.crops`.

    Raises:
        InvalidOptions: The options do not fit the data.
        ManifestError: The data folder is not one.
        ModelError: A bundle cannot be opened.
        OutputError: The results cannot be written.
    """
    corpus = Corpus.read(options.data_dir) if options.data_dir is not None else None
    plans = _plans(options, corpus)
    systems = _systems(options) if systems is None else systems
    _check_names(systems)
    clarity = None
    if crops_for is None and options.crops is not None:
        crops_for, clarity = CropCache(options.crops), load_mouth_clarity()
    sight = None if crops_for is None else Sight(crops_for, corpus, options.seed, clarity)
    _make_folder(options.out)
    cores = Cores.shared(options.n_workers, has_network=_needs_cores(options, systems))
    how = RunOptions(options.lips, options.metrics, cores.n_scoring)
    with cores.for_network():
        rows = run_trials(plans, systems, sight, how, progress)
    facts = _facts(options, systems)
    evaluation = Evaluation(tuple(rows), summarise(rows, options.seed), facts)
    return _write(evaluation, options.out)


def results_table(
    out: Path,
    data_dir: Path,
    crops: Path,
    bundles: Sequence[str],
    progress: Progress = no_progress,
    **more: Any,
) -> Evaluation:
    """The table that stands by a release: systems x conditions x lips, on `test` and `elsewhere`.

    Args:
        out: Folder of the results.
        data_dir: Folder with `av.csv`.
        crops: Folder of cached mouth crops.
        bundles: Names or folders of bundles.
        progress: As in `run_evaluation`.
        more: Other fields of `EvaluateOptions`, e.g. `limit`, `seed`, `conditions`.
    """
    shown: dict[str, Any] = {"splits": SHOWN_SPLITS, "lips": LIPS_CONTROLS}
    shown["conditions"] = (*SHOWN_CONDITIONS, "clean")
    options = EvaluateOptions(out, data_dir, bundles=tuple(bundles), crops=crops, **(shown | more))
    return run_evaluation(options, progress)


def _plans(options: EvaluateOptions, corpus: Corpus | None) -> list[TrialPlan]:
    plans = _undisturbed(options, corpus)
    bad = [DisturbedPlan(p, control, options.seed) for control in options.sound for p in plans]
    return [*plans, *bad]


def _undisturbed(options: EvaluateOptions, corpus: Corpus | None) -> list[TrialPlan]:
    if options.pairs is not None:
        return plan_layout(options.pairs, options.estimate)[: options.limit]
    if corpus is None:
        assert options.reference is not None
        pairs = plan_pairs(options.reference, options.estimate, options.noisy)
        return list(pairs[: options.limit])
    plans: list[TrialPlan] = []
    for split in options.splits:
        for spec in _specs(options, split):
            plans.extend(plan_mixtures(corpus, spec, options.limit))
    return plans


def _specs(options: EvaluateOptions, split: str) -> list[MixtureSpec]:
    if options.talkers is None:
        return [condition(name, split, options.seed) for name in options.conditions]
    low, high = options.snr_db or (0.0, 0.0)
    name = f"talkers{options.talkers}_{low:g}:{high:g}db"
    name += f"_{Path(options.noise).name}" if options.noise else ""
    spec = MixtureSpec(name, options.talkers, (low, high), options.noise, options.seed, split)
    return [spec]


def _systems(options: EvaluateOptions) -> list[System]:
    systems: list[System] = []
    if options.bundles:
        systems.extend(open_networks(options.bundles, options.device))
    systems.extend(CommandSystem.parse(text) for text in options.compare)
    return systems


def _needs_cores(options: EvaluateOptions, systems: Sequence[System]) -> bool:
    """Whether a network runs on the CPU; commands are processes of their own."""
    is_here = any(not isinstance(system, CommandSystem) for system in systems)
    return is_here and resolve_device(options.device).type == "cpu"


def _check_names(systems: Sequence[System]) -> None:
    names = [MIXTURE, *(system.name for system in systems)]
    if len(set(names)) != len(names):
        raise InvalidOptions(f"systems: expected different names, got {', '.join(names)}")


def _facts(options: EvaluateOptions, systems: Sequence[System]) -> dict[str, Any]:
    given = {name: value for name, value in asdict(options).items() if value not in (None, ())}
    if options.data_dir is None:
        given = {name: given[name] for name in given if name not in ("splits", "conditions")}
    labels = {s.name: getattr(s, "label", s.name) for s in systems}
    return provenance(**given, systems=[f"{name} ({label})" for name, label in labels.items()])


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(folder, "a folder for the results", str(error)) from error


def _write(evaluation: Evaluation, folder: Path) -> Evaluation:
    summary, facts = evaluation.summary, evaluation.facts
    pictures = charts(evaluation.rows)
    texts = {
        "rows.csv": rows_csv(evaluation.rows),
        "results.json": results_json(evaluation),
        "summary.md": markdown(summary, facts),
        "report.html": page(summary, facts, pictures),
    }
    contents = {name: text.encode() for name, text in texts.items()} | pictures
    for name, content in contents.items():
        write_whole(folder / name, content)
    files = {name: folder / name for name in contents}
    return Evaluation(evaluation.rows, summary, facts, files)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step.

    Raises:
        OutputError: It cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(path, "a file that can be written", str(error)) from error


def results_json(evaluation: Evaluation) -> str:
    """Facts, summary and rows as JSON; what has no value is null."""
    document = {
        "facts": evaluation.facts,
        "summary": evaluation.summary,
        "rows": [row.flat(metrics_of(evaluation.rows)) for row in evaluation.rows],
    }
    text = json.dumps(_plain(document), indent=1, ensure_ascii=False, allow_nan=False)
    return re.sub(r"\n {4,}", " ", text) + "\n"


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {str(key): _plain(own) for key, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(own) for own in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
