"""Inputs and options to work: every clip with its options and a name nobody else has."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath

from avse.batch.errors import InvalidBatch
from avse.batch.inputs import Listed
from avse.batch.ledger import Ledger
from avse.batch.work import SUFFIXES, Work, plain, settings_hash
from avse.types import EnhanceOptions
from preprocessing.target import FaceChoiceInvalid, parse_choice

_NUMBERED = re.compile(r"(.+)\.\d+(\.\w+)")
_N_DIGITS = 8


@dataclass(frozen=True, slots=True)
class PlanConfig:
    """What holds for all clips.

    Attributes:
        options: For clips without their own.
        suffix: Of the outputs.
        is_flat: All outputs in one folder.
        bundle: Name and sha256 of the weights.
        detector: Name of the face detector.
    """

    options: EnhanceOptions
    suffix: str
    is_flat: bool
    bundle: str
    detector: str


def plan(listed: Sequence[Listed], config: PlanConfig, ledger: Ledger) -> list[Work]:
    """Work in the order of the inputs; names are reserved in the ledger, all at once.

    A name that belongs to another input, that is another's numbered one, or that is itself an
    input, gets eight digits of the input's own hash. Names depend on nothing but the input and
    those who came before.

    Args:
        listed: The inputs.
        config: For all of them.
        ledger: Where names are known.

    Raises:
        InvalidBatch: An option is out of range, or two inputs ask for one output.
    """
    wanted = [(each, _options(each, config)) for each in listed]
    _check_asked(listed)
    sources = {each.path for each in listed}
    works: dict[str, Work] = {}
    with ledger.transaction():
        for each, options in sorted(wanted, key=lambda pair: pair[0].wish.output is None):
            name = _name(each, config, ledger, sources, works, options.face == "all")
            ledger.reserve(name, each.path, is_for_all=options.face == "all")
            suffix = PurePosixPath(name).suffix.lower()
            settings = settings_hash(config.bundle, config.detector, suffix, options)
            works[name] = Work(each.path, name, options, settings)
    order = {each.path: index for index, each in enumerate(listed)}
    return sorted(works.values(), key=lambda work: order[work.source])


def _options(listed: Listed, config: PlanConfig) -> EnhanceOptions:
    """The clip's options.

    Raises:
        InvalidBatch: One is out of range.
    """
    own = {name: value for name, value in asdict(listed.wish).items() if value is not None}
    own.pop("output", None)
    try:
        options = replace(config.options, keep_mask=False, **own)
        parse_choice(options.face)
    except (ValueError, FaceChoiceInvalid) as error:
        raise InvalidBatch(f"{listed.origin}: {error}") from error
    return options


def _check_asked(listed: Sequence[Listed]) -> None:
    """Refuse what cannot be told apart.

    Raises:
        InvalidBatch: Two inputs ask for one name, or one input stands twice without asking.
    """
    asked: dict[str, Listed] = {}
    unnamed: dict[Path, Listed] = {}
    for each in listed:
        if each.wish.output is not None:
            other = asked.setdefault(str(_asked(each)), each)
        else:
            other = unnamed.setdefault(each.path, each)
        if other is not each:
            wanted = "an output of its own for each"
            raise InvalidBatch(
                f"{each.origin}: expected {wanted}, found the same at {other.origin}"
            )


def _asked(listed: Listed) -> PurePosixPath:
    """The name a manifest asks for.

    Raises:
        InvalidBatch: It leads out of the output folder or has another ending.
    """
    name = PurePosixPath(listed.wish.output or "")
    if name.is_absolute() or ".." in name.parts or not name.name:
        raise InvalidBatch(f"{listed.origin}: output: expected a name below OUT, found {name}")
    if name.suffix.lower() not in SUFFIXES or name.parts[0].startswith("."):
        wanted = ", ".join(SUFFIXES)
        raise InvalidBatch(f"{listed.origin}: output: expected one of {wanted}, found {name}")
    return name


def _name(
    listed: Listed,
    config: PlanConfig,
    ledger: Ledger,
    sources: set[Path],
    works: dict[str, Work],
    is_for_all: bool,
) -> str:
    if listed.wish.output is not None:
        return str(_asked(listed))
    place = PurePosixPath(listed.place.name) if config.is_flat else listed.place
    name = place.with_suffix(config.suffix)
    if _is_free(str(name), listed.path, ledger, works, is_for_all) and not (
        _is_source(name, ledger.out_dir, sources)
    ):
        return str(name)
    digits = hashlib.sha256(plain(listed.path).encode()).hexdigest()[:_N_DIGITS]
    return str(name.with_name(f"{name.stem}-{digits}{name.suffix}"))


def _is_free(
    name: str, source: Path, ledger: Ledger, works: dict[str, Work], is_for_all: bool
) -> bool:
    """Whether the name is this input's, or may become it."""
    if name in works:
        return False
    owner = ledger.owner(name)
    if owner is not None and owner != plain(source) and Path(owner).exists():
        return False
    if is_for_all and ledger.has_numbered(name):
        return False
    match = _NUMBERED.fullmatch(name)
    return match is None or not ledger.is_for_all(match[1] + match[2])


def _is_source(name: PurePosixPath, out_dir: Path, sources: set[Path]) -> bool:
    """Whether a result of this name would take the place of an input."""
    path = out_dir / name
    return path in sources or path.resolve() in sources
