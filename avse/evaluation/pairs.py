"""Pairs of files in folders: references, estimates or noisy sounds of the same names."""

from dataclasses import dataclass
from pathlib import Path

from avse.evaluation.errors import EvaluationError, InvalidOptions
from avse.evaluation.trials import ReadAudio, Trial, TrialFacts
from preprocessing.types import Waveform

ESTIMATE = "estimate"


@dataclass(frozen=True, slots=True)
class FolderPair:
    """One reference and the files of the same stem.

    Attributes:
        facts: Named by the stem; the speaker is the stem up to the first underscore.
        clean: The reference.
        noisy: What systems are given, or None.
        estimate: A finished output, or None.
    """

    facts: TrialFacts
    clean: Path
    noisy: Path | None
    estimate: Path | None

    def render(self, read: ReadAudio) -> Trial:
        """Read the files at 16 kHz.

        Raises:
            MediaError: One cannot be read.
            EvaluationError: One is missing, or reference and noisy differ in length.
        """
        clean = read(self.clean)
        noisy = read(self.noisy) if self.noisy else None
        if noisy is not None and noisy.n_samples != clean.n_samples:
            found = f"{clean.n_samples} and {noisy.n_samples} samples"
            raise EvaluationError(f"lengths of reference and noisy differ: {found}")
        estimates: dict[str, Waveform] = {ESTIMATE: read(self.estimate)} if self.estimate else {}
        return Trial(clean, noisy, estimates)


@dataclass(frozen=True, slots=True)
class IncompletePair:
    """A name that one of the folders lacks."""

    facts: TrialFacts
    reason: str

    def render(self, read: ReadAudio) -> Trial:
        """Say what is missing.

        Raises:
            EvaluationError: Always.
        """
        raise EvaluationError(self.reason)


def plan_pairs(
    reference: Path, estimate: Path | None = None, noisy: Path | None = None
) -> list[FolderPair | IncompletePair]:
    """Pairs by stem from two or three folders; VoiceBank+DEMAND has them as `clean/`, `noisy/`.

    Raises:
        InvalidOptions: A folder is missing or empty, or nothing is given to judge.
    """
    if estimate is None and noisy is None:
        raise InvalidOptions("pairs: expected --estimate or --noisy beside --reference")
    folders = {"reference": reference, "estimate": estimate, "noisy": noisy}
    files = {role: files_by_stem(path) for role, path in folders.items() if path is not None}
    stems = sorted(set().union(*files.values()))
    return [_pair(stem, files) for stem in stems]


def files_by_stem(folder: Path) -> dict[str, Path]:
    """Files of a folder by their names without the ending.

    Raises:
        InvalidOptions: There is no such folder, or nothing in it.
    """
    if not folder.is_dir():
        raise InvalidOptions(f"{folder}: expected a folder, found none")
    found = {p.stem: p for p in sorted(folder.iterdir()) if p.is_file() and p.name[0] != "."}
    if not found:
        raise InvalidOptions(f"{folder}: expected sound files, found none")
    return found


def _pair(stem: str, files: dict[str, dict[str, Path]]) -> FolderPair | IncompletePair:
    facts = TrialFacts(stem, "pairs", "pairs", speaker=stem.partition("_")[0])
    lacking = [role for role, own in files.items() if stem not in own]
    if lacking:
        return IncompletePair(facts, f"missing in the folder of: {', '.join(lacking)}")
    paths = {role: own[stem] for role, own in files.items()}
    return FolderPair(facts, paths["reference"], paths.get("noisy"), paths.get("estimate"))
