"""From words on the command line to clips: folders, patterns, manifests, lists."""

import csv
import glob
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from avse.batch.errors import InvalidBatch

MEDIA_SUFFIXES = frozenset({
    ".3g2", ".3gp", ".aac", ".ac3", ".aif", ".aiff", ".amr", ".asf", ".au", ".avi", ".caf",
    ".eac3", ".flac", ".flv", ".m2ts", ".m4a", ".m4v", ".mkv", ".mov", ".mp3", ".mp4", ".mpeg",
    ".mpg", ".mts", ".mxf", ".oga", ".ogg", ".opus", ".ts", ".w64", ".wav", ".weba", ".webm",
    ".wma", ".wmv", ".wv",
})  # fmt: skip
"""Files with these endings are taken from a folder; a file that is named itself may end in any."""

MANIFEST_SUFFIXES = (".csv", ".jsonl")
FIELDS = ("input", "face", "mode", "strength", "output")
STANDARD_INPUT = "-"
_WILD = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Wish:
    """What a manifest asks for one clip; None takes the option of the command.

    Attributes:
        face: As `EnhanceOptions.face`.
        mode: As `EnhanceOptions.mode`.
        strength: As `EnhanceOptions.strength`.
        output: Name below the output folder.
    """

    face: str | None = None
    mode: str | None = None
    strength: float | None = None
    output: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """One input.

    Attributes:
        path: The file, absolute.
        place: Where it stood below the folder, pattern or list it came from.
        wish: Its own options.
        origin: Where it was listed, for messages.
    """

    path: Path
    place: PurePosixPath
    wish: Wish = field(default_factory=Wish)
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that was found.

    Attributes:
        listed: Each file and wish once, in the order given, folders sorted.
        notes: Sentences for the user, as about columns that nobody reads.
    """

    listed: tuple[Listed, ...]
    notes: tuple[str, ...] = ()


def find_inputs(sources: Sequence[str], out_dir: Path, lines: Iterable[str] = ()) -> Inputs:
    """Look for the clips.

    Args:
        sources: Files, folders, patterns, `.csv` or `.jsonl` manifests, or `-` for `lines`.
        out_dir: Left out where it lies within a folder.
        lines: Standard input: one path, or one JSON object, on each.

    Raises:
        InvalidBatch: A source is not there, or a manifest cannot be read.
    """
    notes: list[str] = []
    found: dict[tuple[Path, Wish], Listed] = {}
    files = [Path(source) for source in sources if _is_clip(source)]
    parent = Path(os.path.commonpath([_absolute(f).parent for f in files])) if files else Path()
    for source in sources:
        for each in _one_source(source, parent, out_dir, lines, notes):
            found.setdefault((each.path, each.wish), each)
    return Inputs(tuple(found.values()), tuple(dict.fromkeys(notes)))


def _is_clip(source: str) -> bool:
    path = Path(source)
    return source != STANDARD_INPUT and path.is_file() and not _is_manifest(path)


def _is_manifest(path: Path) -> bool:
    return path.suffix.lower() in MANIFEST_SUFFIXES


def _absolute(path: Path) -> Path:
    """Absolute, without `..`, links left as they are."""
    return Path(os.path.abspath(path))


def _one_source(
    source: str, parent: Path, out_dir: Path, lines: Iterable[str], notes: list[str]
) -> Iterator[Listed]:
    path = Path(source)
    if source == STANDARD_INPUT:
        yield from _listed_lines(lines, Path(), "standard input", notes)
    elif path.is_dir():
        yield from _folder(path, out_dir)
    elif path.is_file() and _is_manifest(path):
        yield from _manifest(path, notes)
    elif path.is_file():
        absolute = _absolute(path)
        yield Listed(absolute, PurePosixPath(absolute.relative_to(parent)), origin=source)
    elif _WILD & set(source):
        yield from _pattern(source, out_dir)
    else:
        raise InvalidBatch(f"{source}: expected a file, a folder, a pattern or -, found none")


def _folder(folder: Path, out_dir: Path) -> Iterator[Listed]:
    """Media files below a folder, sorted; hidden ones and the outputs left out."""
    root, out = _absolute(folder), out_dir.resolve()
    if root.resolve() == out:
        raise InvalidBatch(f"{folder}: expected another folder than the output")
    for name, folders, files in os.walk(root, followlinks=False):
        here = Path(name)
        folders[:] = sorted(f for f in folders if f[0] != "." and (here / f).resolve() != out)
        for file in sorted(files):
            if file[0] != "." and Path(file).suffix.lower() in MEDIA_SUFFIXES:
                path = here / file
                yield Listed(path, PurePosixPath(path.relative_to(root)), origin=str(folder))


def _pattern(pattern: str, out_dir: Path) -> Iterator[Listed]:
    """Files a pattern names, sorted; places count from its first folder without a wild card."""
    fixed = []
    for part in Path(pattern).parts[:-1]:
        if _WILD & set(part):
            break
        fixed.append(part)
    root, out = _absolute(Path(*fixed)), out_dir.resolve()
    paths = sorted(_absolute(Path(found)) for found in glob.iglob(pattern, recursive=True))
    files = [p for p in paths if p.is_file() and out not in p.resolve().parents]
    if not files:
        raise InvalidBatch(f"{pattern}: expected files of such a name, found none")
    for path in files:
        yield Listed(path, PurePosixPath(path.relative_to(root)), origin=pattern)


def _manifest(path: Path, notes: list[str]) -> Iterator[Listed]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as text:
            if path.suffix.lower() == ".jsonl":
                yield from _listed_lines(text, path.parent, str(path), notes)
                return
            reader = csv.DictReader(text)
            for row in reader:
                origin = f"{path}, line {reader.line_num}"
                yield _entry(row, path.parent, origin, str(path), notes)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidBatch(f"{path}: expected a readable manifest, found: {error}") from error


def _listed_lines(
    lines: Iterable[str], base: Path, name: str, notes: list[str]
) -> Iterator[Listed]:
    """One entry a line: a JSON object, or (not in a `.jsonl`) a path."""
    for number, line in enumerate(lines, 1):
        text = line.rstrip("\r\n")
        origin = f"{name}, line {number}"
        if not text.strip():
            continue
        if text.lstrip().startswith("{"):
            yield _entry(_object(text, origin), base, origin, name, notes)
        elif name.lower().endswith(".jsonl"):
            raise InvalidBatch(f"{origin}: expected a JSON object, found {text[:40]!r}")
        else:
            yield _at(text, base, Wish(), origin)


def _object(text: str, origin: str) -> dict[str, Any]:
    try:
        return dict(json.loads(text))
    except ValueError as error:
        raise InvalidBatch(f"{origin}: expected a JSON object, found: {error}") from error


def _entry(row: Mapping[Any, Any], base: Path, origin: str, name: str, notes: list[str]) -> Listed:
    """One row of a manifest; columns nobody knows are told, not hidden.

    Raises:
        InvalidBatch: There is no input, or a value has the wrong type.
    """
    given = {"input" if key == "path" else key: value for key, value in row.items()}
    unknown = [str(key) for key in given if key not in FIELDS]
    if unknown:
        notes.append(f"{name}: not used: {', '.join(sorted(unknown))}")
    text = given.get("input")
    if not isinstance(text, str) or not text:
        raise InvalidBatch(f"{origin}: expected an input, found {text!r}")
    wish = Wish(
        _word(given, "face", origin),
        _word(given, "mode", origin),
        _number(given.get("strength"), origin),
        _word(given, "output", origin),
    )
    return _at(text, base, wish, origin)


def _word(given: Mapping[Any, Any], name: str, origin: str) -> str | None:
    value = given.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidBatch(f"{origin}: {name}: expected a word, found {value!r}")
    return str(value)


def _number(value: Any, origin: str) -> float | None:
    if value is None or value == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise InvalidBatch(f"{origin}: strength: expected a number, found {value!r}") from error


def _at(text: str, base: Path, wish: Wish, origin: str) -> Listed:
    """A listed path: relative to its manifest; an absolute one keeps its place below `/`."""
    given = Path(os.path.normpath(text))
    parts = [part for part in given.parts if part not in ("..", given.anchor)]
    return Listed(_absolute(base / given), PurePosixPath(*parts), wish, origin)
