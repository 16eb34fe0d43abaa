"""Pairs in the layouts in which test sets are handed out, read as they are.

- a manifest: CSV or JSONL with the columns of `FIELDS`, paths from its own folder
- VoiceBank+DEMAND: a folder with `clean*` and `noisy*` of like names
- AVSE challenge: `scenes.<set>.json`, sounds in `scenes/`
- LRS2/LRS3/VoxCeleb2 mixtures: `mixture_data_list_<n>mix.csv`, or lists of
  `[mixture, source, ...]` in JSON
"""

import csv
import json
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from avse.evaluation.errors import InvalidOptions
from avse.evaluation.pairs import FolderPair, IncompletePair, files_by_stem, plan_pairs
from avse.evaluation.trials import ReadAudio, Trial, TrialFacts, TrialPlan
from preprocessing.types import Waveform

log = logging.getLogger(__name__)

FIELDS = (
    "reference", "noisy", "estimate", "name", "condition", "split", "speaker", "gender", "corpus",
    "talkers", "snr", "noise",
)  # fmt: skip
SYNONYMS = {"clean": "reference", "mixture": "noisy", "enhanced": "estimate", "snr_db": "snr"}
VOICEBANK = (("clean", "noisy"), ("clean_testset_wav", "noisy_testset_wav"))
SCENE_MIXTURES = ("_mixed.wav", "_mono_mix.wav", "_mix.wav")
_LIST_STEM = "mixture_data_list_"
_MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class CutPair:
    """A pair whose mixture ends where its shortest voice did: the reference is cut to it."""

    pair: FolderPair

    @property
    def facts(self) -> TrialFacts:
        """What is known before."""
        return self.pair.facts

    def render(self, read: ReadAudio) -> Trial:
        """Read the files and cut the reference.

        Raises:
            MediaError: One cannot be read.
            EvaluationError: The reference is the shorter one.
        """
        n_samples = read(self.pair.noisy).n_samples if self.pair.noisy is not None else 0

        def cut(path: Path) -> Waveform:
            sound = read(path)
            return replace(sound, samples=sound.samples[:n_samples])

        return self.pair.render(cut)


def plan_layout(path: Path, estimate: Path | None = None) -> list[TrialPlan]:
    """Every pair of a test set.

    Args:
        path: A folder, list or manifest in one of the layouts.
        estimate: Folder of finished outputs, named as the pairs or as their noisy files.

    Raises:
        InvalidOptions: It is in none of the layouts, or there is nothing in it.
    """
    plans = list(_pairs(path))
    if not plans:
        raise InvalidOptions(f"{path}: expected pairs, found none")
    if estimate is None:
        return plans
    estimates = files_by_stem(estimate)
    return [_with_estimate(plan, estimates) for plan in plans]


def _pairs(path: Path) -> Iterator[TrialPlan]:
    if path.is_dir():
        yield from _folder(path)
    elif path.suffix == ".json":
        yield from _json(path)
    elif path.name.startswith(_LIST_STEM):
        yield from _mixture_list(path)
    elif path.suffix in (".csv", ".jsonl"):
        yield from _manifest(path)
    else:
        raise InvalidOptions(f"{path}: expected a folder, .csv, .jsonl or .json of pairs")


def _folder(folder: Path) -> Iterator[TrialPlan]:
    for clean, noisy in VOICEBANK:
        if (folder / clean).is_dir() and (folder / noisy).is_dir():
            yield from plan_pairs(folder / clean, noisy=folder / noisy)
            return
    lists = [*sorted(folder.glob("scenes.*.json")), *sorted(folder.glob("metadata/scenes.*.json"))]
    lists += sorted(folder.glob(f"{_LIST_STEM}*.csv"))
    if not lists:
        wanted = "clean/ and noisy/, scenes.*.json or mixture_data_list_*.csv"
        raise InvalidOptions(f"{folder}: expected {wanted}, found none of them")
    for each in lists:
        yield from _pairs(each)


def _with_estimate(plan: TrialPlan, estimates: Mapping[str, Path]) -> TrialPlan:
    inner = plan.pair if isinstance(plan, CutPair) else plan
    if not isinstance(inner, FolderPair):
        return plan
    stems = [Path(inner.facts.clip).stem, inner.noisy.stem if inner.noisy else ""]
    found = next((estimates[stem] for stem in stems if stem in estimates), None)
    if found is None:
        return IncompletePair(inner.facts, "missing in the folder of: estimate")
    pair = replace(inner, estimate=found)
    return CutPair(pair) if isinstance(plan, CutPair) else pair


def _manifest(path: Path) -> Iterator[TrialPlan]:
    """Rows of a manifest; columns nobody knows are told."""
    known = {*FIELDS, *SYNONYMS}
    for number, row in enumerate(_manifest_rows(path), 1):
        unknown = sorted(str(key) for key in row if key not in known)
        if unknown and number == 1:
            log.warning("%s: not used: %s", path, ", ".join(unknown))
        fields = {SYNONYMS.get(key, key): value for key, value in row.items() if value != ""}
        origin = f"{path}, row {number}"
        if not fields.get("reference") or not (fields.get("noisy") or fields.get("estimate")):
            raise InvalidOptions(f"{origin}: expected reference and noisy or estimate")
        sounds = [
            path.parent / str(fields[role]) if fields.get(role) else None
            for role in ("reference", "noisy", "estimate")
        ]
        assert sounds[0] is not None
        yield _checked(FolderPair(_facts(fields, sounds[0], origin), sounds[0], *sounds[1:]))


def _manifest_rows(path: Path) -> list[dict[str, Any]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as lines:
            if path.suffix == ".csv":
                return list(csv.DictReader(lines))
            return [dict(json.loads(line)) for line in lines if line.strip()]
    except (OSError, ValueError, csv.Error) as error:
        raise InvalidOptions(f"{path}: expected a readable manifest, found: {error}") from error


def _facts(fields: Mapping[str, Any], reference: Path, origin: str) -> TrialFacts:
    try:
        snr_db = None if fields.get("snr") in (None, "") else float(fields["snr"])
        n_talkers = int(fields.get("talkers") or 0)
    except (TypeError, ValueError) as error:
        raise InvalidOptions(f"{origin}: snr, talkers: expected numbers: {error}") from error
    return TrialFacts(
        str(fields.get("name") or reference.stem),
        str(fields.get("condition") or "pairs"),
        str(fields.get("split") or "pairs"),
        speaker=str(fields.get("speaker") or ""),
        gender=str(fields.get("gender") or ""),
        corpus=str(fields.get("corpus") or ""),
        n_talkers=n_talkers,
        snr_db=snr_db,
        noise_class=str(fields.get("noise") or ""),
    )


def _checked(pair: FolderPair) -> TrialPlan:
    """The pair, or what it lacks: that is a row with a reason, not the end."""
    named = {"reference": pair.clean, "noisy": pair.noisy, "estimate": pair.estimate}
    lacking = [role for role, path in named.items() if path is not None and not path.is_file()]
    return IncompletePair(pair.facts, f"missing: {', '.join(lacking)}") if lacking else pair


def _json(path: Path) -> Iterator[TrialPlan]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidOptions(f"{path}: expected JSON, found: {error}") from error
    for entry in entries if isinstance(entries, list) else []:
        if isinstance(entry, dict) and "scene" in entry:
            yield _scene(entry, path)
        elif isinstance(entry, list) and len(entry) >= 2:
            yield _listed(entry, path)
        else:
            raise InvalidOptions(f"{path}: expected scenes or [mixture, source, ...] entries")


def _scene(scene: Mapping[str, Any], path: Path) -> TrialPlan:
    """A scene of the AVSE challenge."""
    name, split = str(scene["scene"]), str(scene.get("dataset") or "pairs")
    given = scene.get("interferers", scene.get("interferer", []))
    others = [given] if isinstance(given, dict) else list(given)
    target = str(scene.get("target", {}).get("name", ""))
    noises = [str(other.get("name", "")) for other in others if other.get("type") != "speech"]
    facts = TrialFacts(
        name,
        "scenes",
        split,
        speaker=target.rpartition("_")[0] or target,
        n_talkers=1 + len(others) - len(noises),
        snr_db=float(scene["SNR"]) if "SNR" in scene else None,
        noise_class="+".join(dict.fromkeys(noise.rstrip("_0123456789") for noise in noises)),
        sources=tuple(str(other.get("name", "")) for other in others),
    )
    for folder in _scene_folders(path, split):
        mixtures = [folder / f"{name}{ending}" for ending in SCENE_MIXTURES]
        mixture = next((file for file in mixtures if file.is_file()), None)
        if mixture is not None:
            return _checked(FolderPair(facts, folder / f"{name}_target.wav", mixture, None))
    return IncompletePair(facts, "missing: noisy")


def _scene_folders(path: Path, split: str) -> Sequence[Path]:
    root = path.parent
    return (root / "scenes", root, root / split / "scenes", root.parent / split / "scenes")


def _listed(entry: Sequence[Any], path: Path) -> TrialPlan:
    """`[mixture, source, ...]`, as the lists of LRS2- and LRS3-mix have it."""
    mixture, source = (path.parent / str(name) for name in entry[:2])
    facts = TrialFacts(f"{source.parent.name}/{mixture.stem}", "listed", path.stem)
    return _checked(FolderPair(facts, source, mixture, None))


def _mixture_list(path: Path) -> Iterator[TrialPlan]:
    """Lines `partition,(set,speaker,utterance,dB) * n,seconds`; the first voice is the target's."""
    try:
        lines = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidOptions(f"{path}: expected a list of mixtures, found: {error}") from error
    for number, line in enumerate(lines, 1):
        fields = line.split(",")
        if len(fields) < 10 or (len(fields) - 2) % 4:
            raise InvalidOptions(f"{path}, line {number}: expected 4 fields a voice, found {line}")
        yield _mixture(line, fields, path.parent)


def _mixture(line: str, fields: Sequence[str], root: Path) -> TrialPlan:
    voices = [fields[start : start + 4] for start in range(1, len(fields) - 1, 4)]
    power = sum(10 ** (float(voice[3]) / 10) for voice in voices[1:])
    name = line.replace(",", "_").replace("/", "_")
    facts = TrialFacts(
        name, f"talkers{len(voices)}", fields[0], speaker=voices[0][1], n_talkers=len(voices),
        snr_db=round(-10 * math.log10(power), 3),
        sources=tuple("/".join(voice[:3]) for voice in voices[1:]),
    )  # fmt: skip
    here = root / fields[0]
    names = (f"{name}.wav", f"{name[:_MAX_NAME]}.wav")
    mixture = _first([folder / each for folder in (here / "mix", here) for each in names])
    if mixture is None:
        return IncompletePair(facts, "missing: noisy")
    whole = "/".join(voices[0][:3]) + ".wav"
    cleans = [place / "audio_clean" / whole for place in (root, root.parent, root.parent.parent)]
    clean = _first([here / "s1" / mixture.name, *cleans])
    if clean is None:
        return IncompletePair(facts, "missing: reference")
    return CutPair(FolderPair(facts, clean, mixture, None))


def _first(paths: Sequence[Path]) -> Path | None:
    return next((path for path in paths if path.is_file()), None)
