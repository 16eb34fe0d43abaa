"""What the enhancer is held to, and what was found: one line a goal, never a rounded yes."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from avse.evaluation.rows import Row
from avse.evaluation.significance import Mean, mean_of, paired

BABBLES = ("babble6_-5db", "babble6_0db", "babble6_5db")
SILENCE_DB = -20.0


@dataclass(frozen=True, slots=True)
class Goal:
    """One thing wanted.

    Attributes:
        name: What.
        wanted: In words, with the number.
        found: With its 95 % interval and the number of pairs; empty where nothing was measured.
        is_met: None where nothing was measured.
    """

    name: str
    wanted: str
    found: str = ""
    is_met: bool | None = None

    @property
    def answer(self) -> str:
        """`yes`, `no` or `not measured`."""
        return {True: "yes", False: "no", None: "not measured"}[self.is_met]


@dataclass(frozen=True, slots=True)
class Judged:
    """All rows of one results page, and who is who among the systems.

    Attributes:
        rows: Of every evaluation.
        main: The system that ships.
        order: Systems that should come out in this order, the best first; the main one leads.
        silence_db: What is left of an interferer, by clip, where the visible person says nothing.
    """

    rows: tuple[Row, ...]
    main: str
    order: tuple[str, ...] = ()
    silence_db: tuple[float, ...] = ()

    def gains(self, split: str, condition: str, column: str, **more: str) -> list[float]:
        """Values of a column for the main system with its own lips; `more`: `lips`, `corpus`."""
        rows = self.of(split, condition, more.get("lips", "own"), self.main)
        corpus = more.get("corpus")
        rows = [row for row in rows if corpus is None or row.facts.corpus == corpus]
        return [value for row in rows if (value := row.value(column)) is not None]

    def of(self, split: str, condition: str, lips: str, system: str) -> list[Row]:
        """Rows of one cell; a system that sees nothing counts as shown its own lips."""
        wanted = {lips, ""} if lips == "own" else {lips}
        return [
            row
            for row in self.rows
            if (row.facts.split, row.facts.condition, row.system) == (split, condition, system)
            and row.lips in wanted
        ]


def goals(judged: Judged) -> list[Goal]:
    """Every goal, in order."""
    return [
        _gain(judged, "1 three talkers, 2.5 to 17.5 dB", "three_paper", ("pesq_wb", 0.54)),
        _gain(judged, "1 three talkers, 2.5 to 17.5 dB", "three_paper", ("stoi", 0.041)),
        *_order(judged),
        _gain(judged, "2 two talkers, 0 dB", "two_0db", ("stoi", 0.20)),
        _gain(judged, "2 two talkers, 0 dB", "two_0db", ("si_sdr_db", 8.0)),
        *(_up(judged, f"3 {name}", "test", name) for name in BABBLES),
        _voicebank(judged),
        _rarely_worse(judged),
        _silence(judged),
        _clean(judged),
        *_every_corpus(judged),
        *_robust(judged),
    ]


def _gain(judged: Judged, name: str, condition: str, floor: tuple[str, float]) -> Goal:
    metric, least = floor
    mean = mean_of(judged.gains("test", condition, f"{metric}_gain"))
    return _goal(name, f"{metric} up by {least:g} or more", mean, lambda m: m.mean >= least)


def _up(judged: Judged, name: str, split: str, condition: str, corpus: str | None = None) -> Goal:
    more = {} if corpus is None else {"corpus": corpus}
    mean = mean_of(judged.gains(split, condition, "stoi_gain", **more))
    return _goal(name, "stoi up, not down", mean, lambda m: m.mean > 0)


def _goal(name: str, wanted: str, mean: Mean, is_met: Callable[[Mean], bool]) -> Goal:
    if not mean.n:
        return Goal(name, wanted)
    found = f"{mean.mean:.3f} [{mean.low:.3f}, {mean.high:.3f}], n = {mean.n}"
    return Goal(name, wanted, found, is_met(mean))


def _order(judged: Judged) -> Iterable[Goal]:
    for better, worse in zip(judged.order, judged.order[1:], strict=False):
        for metric in ("pesq_wb", "stoi"):
            pairs = _pairs(judged, better, worse, metric)
            delta = paired([a for a, _ in pairs], [b for _, b in pairs]).delta
            name = f"1 {better} over {worse}, {metric}"
            yield _goal(name, "its whole interval above 0", delta, lambda m: m.low > 0)


def _pairs(judged: Judged, better: str, worse: str, metric: str) -> list[tuple[float, float]]:
    first, second = (
        {row.facts.clip: row.value(metric) for row in judged.of("test", "three_paper", "own", name)}
        for name in (better, worse)
    )
    both = [(first[clip], second[clip]) for clip in first if clip in second]
    return [(a, b) for a, b in both if a is not None and b is not None]


def _voicebank(judged: Judged) -> Goal:
    rows = [row for row in judged.rows if row.facts.split == "pairs" and row.system == judged.main]
    values = [value for row in rows if (value := row.value("pesq_wb")) is not None]
    wanted = "VoiceBank+DEMAND: pesq_wb 2.90 or more"
    return _goal("4 no mouth", wanted, mean_of(values), lambda m: m.mean >= 2.90)


def _rarely_worse(judged: Judged) -> Goal:
    gains = [
        gain
        for condition in _conditions(judged.rows)
        for gain in judged.gains("test", condition, "stoi_gain")
    ]
    if not gains:
        return Goal("5 never worse", "fewer than 2 % lose more than .01 stoi")
    share = sum(gain < -0.01 for gain in gains) / len(gains)
    found = f"{share:.1%} of {len(gains)} mixtures of all conditions"
    return Goal("5 never worse", "fewer than 2 % lose more than .01 stoi", found, share < 0.02)


def _silence(judged: Judged) -> Goal:
    wanted = f"who says nothing is given at most {SILENCE_DB:g} dB of the other voice"
    mean = mean_of(judged.silence_db)
    return _goal("5 silent target", wanted, mean, lambda m: m.mean <= SILENCE_DB)


def _clean(judged: Judged) -> Goal:
    mean = mean_of(judged.gains("elsewhere", "clean", "stoi"))
    return _goal("6 elsewhere, clean", "stoi .98 or more", mean, lambda m: m.mean >= 0.98)


def _every_corpus(judged: Judged) -> Iterable[Goal]:
    rows = judged.of("elsewhere", "two_0db", "own", judged.main)
    for corpus in sorted({row.facts.corpus for row in rows}):
        yield _up(judged, f"6 elsewhere, {corpus}", "elsewhere", "two_0db", corpus)


def _robust(judged: Judged) -> Iterable[Goal]:
    tried = {row.facts.clip for row in judged.rows if ":" in row.lips}
    rows = judged.of("test", "two_0db", "none", judged.main)
    blind = _mean([row for row in rows if row.facts.clip in tried], "stoi_gain")
    for control in dict.fromkeys(row.lips for row in judged.rows if ":" in row.lips):
        mean = mean_of(judged.gains("test", "two_0db", "stoi_gain", lips=control))
        wanted = f"stoi gain not below that without lips, {blind:+.3f}"
        yield _goal(f"7 {control}", wanted, mean, lambda m: m.mean >= blind)


def _conditions(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.facts.condition for row in rows if row.facts.split == "test"))


def goals_table(found: Sequence[Goal]) -> tuple[list[str], list[list[str]]]:
    """Header and cells."""
    cells = [[goal.name, goal.wanted, goal.found, goal.answer] for goal in found]
    return ["goal", "wanted", "found", "met"], cells


PAPER_TABLE_3 = {
    "mixture": (2.19, 0.900),
    "audio_only": (2.43, 0.930),
    "concat": (2.67, 0.938),
    "mmtm": (2.73, 0.941),
}
"""PESQ-WB and STOI of three talkers on VoxCeleb2 (Joze et al., CVPR 2020, table 3)."""


def table_3(judged: Judged, fusions: dict[str, str]) -> tuple[list[str], list[list[str]]]:
    """The paper's table beside ours: `fusions` names the fusion of each system."""
    header = ["system", "fusion", "pesq_wb", "stoi", "paper pesq_wb", "paper stoi"]
    cells = []
    for system, fusion in {"mixture": "mixture", **fusions}.items():
        rows = judged.of("test", "three_paper", "own", system)
        means = [_mean(rows, metric) for metric in ("pesq_wb", "stoi")]
        theirs = PAPER_TABLE_3.get(fusion, (math.nan, math.nan))
        numbers = [f"{means[0]:.2f}", f"{means[1]:.3f}", f"{theirs[0]:.2f}", f"{theirs[1]:.3f}"]
        cells.append([system, fusion, *("" if text == "nan" else text for text in numbers)])
    return header, cells


def _mean(rows: Iterable[Row], metric: str) -> float:
    return mean_of([value for row in rows if (value := row.value(metric)) is not None]).mean
