"""TOML to frozen dataclasses; every unknown key and wrong type is an error before work starts."""

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from avse.errors import ConfigError

Config = TypeVar("Config")


def load_config(
    schema: type[Config], path: Path | None = None, overrides: Iterable[str] = ()
) -> Config:
    """Settings from defaults, then a TOML file, then `key=value` overrides.

    Args:
        schema: Frozen dataclass, nested sections are dataclasses too.
        path: The TOML file; None takes the defaults.
        overrides: `section.key=value` each, the value as TOML (a bare word is a string).

    Raises:
        ConfigError: The file is missing or not TOML, a key is unknown or missing, or a value has
            the wrong type; the message names the key and the file.
    """
    mapping = {} if path is None else _read_toml(path)
    origin = "defaults" if path is None else str(path)
    given = [_parse_override(override) for override in overrides]
    for override in given:
        mapping = _merge(mapping, override)
    origin = f"{origin} + --set" if given else origin
    return from_mapping(schema, mapping, origin)


def from_mapping(
    schema: type[Config], mapping: Mapping[str, Any], origin: str, prefix: str = ""
) -> Config:
    """A dataclass from nested mappings, checked key by key.

    Args:
        schema: The dataclass.
        mapping: Values by field name.
        origin: Where the values stand, for the messages.
        prefix: Section the mapping belongs to, with its dot.

    Raises:
        ConfigError: As `load_config` says; also where the dataclass itself refuses a value.
    """
    known = {field.name: field for field in fields(schema) if field.init}  # type: ignore[arg-type]
    hints = get_type_hints(schema)
    for key in mapping:
        if key not in known:
            wanted = ", ".join(known)
            raise ConfigError(f"{origin}: unknown key {prefix}{key}; expected one of: {wanted}")
    for key, field in known.items():
        if key not in mapping and field.default is field.default_factory is MISSING:
            raise ConfigError(f"{origin}: missing key {prefix}{key}")
    values = {
        key: _convert(hints[key], value, origin, f"{prefix}{key}") for key, value in mapping.items()
    }
    try:
        return schema(**values)
    except ValueError as error:
        raise ConfigError(f"{origin}: {prefix or 'settings: '}{error}") from error


def resolved(config: Any) -> dict[str, Any]:
    """Every setting of a config dataclass, ready for JSON (paths as text)."""
    return {key: _plain(value) for key, value in asdict(config).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected a readable TOML file, found: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: expected TOML, found: {error}") from error


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, written = text.partition("=")
    names = key.strip().split(".")
    if not equals or not all(names):
        raise ConfigError(f"--set: expected section.key=value, found {text!r}")
    try:
        value = tomllib.loads(f"value = {written}")["value"]
    except tomllib.TOMLDecodeError:
        value = written.strip()
    for name in reversed(names):
        value = {name: value}
    return dict(value)


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _convert(hint: Any, value: Any, origin: str, key: str) -> Any:
    """The value as its field wants it.

    Raises:
        ConfigError: It is of another type.
    """
    if is_dataclass(hint) and isinstance(value, Mapping):
        return from_mapping(hint, value, origin, f"{key}.")  # type: ignore[arg-type]
    kind = get_origin(hint)
    if kind in (Union, UnionType):
        return _convert_union(hint, value, origin, key)
    if kind in (tuple, list) and isinstance(value, list | tuple):
        return _convert_sequence(hint, value, origin, key)
    if kind is dict and isinstance(value, Mapping):
        inner = get_args(hint)[1]
        return {k: _convert(inner, item, origin, f"{key}.{k}") for k, item in value.items()}
    if kind is Literal and any(value == a and type(value) is type(a) for a in get_args(hint)):
        return value
    return _convert_plain(hint, value, origin, key)


def _convert_plain(hint: Any, value: Any, origin: str, key: str) -> Any:
    if hint is Any or (hint is NoneType and value is None):
        return value
    if hint is float and type(value) in (int, float):
        return float(value)
    if hint is Path and isinstance(value, str | Path):
        return Path(value)
    if isinstance(hint, type) and (type(value) is hint):
        return value
    wanted = getattr(hint, "__name__", str(hint)) if get_origin(hint) is None else str(hint)
    found = f"{type(value).__name__} {value!r}"
    raise ConfigError(f"{origin}: {key}: expected {wanted}, found {found}")


def _convert_union(hint: Any, value: Any, origin: str, key: str) -> Any:
    for choice in get_args(hint):
        try:
            return _convert(choice, value, origin, key)
        except ConfigError as error:
            if is_dataclass(choice) and isinstance(value, Mapping):
                raise error
    found = f"{type(value).__name__} {value!r}"
    raise ConfigError(f"{origin}: {key}: expected {hint}, found {found}")


def _convert_sequence(hint: Any, value: Any, origin: str, key: str) -> Any:
    kind, inner = get_origin(hint), get_args(hint)
    if kind is tuple and inner[-1] is not Ellipsis:
        if len(inner) != len(value):
            raise ConfigError(f"{origin}: {key}: expected {len(inner)} values, found {len(value)}")
        hints: Iterable[Any] = inner
    else:
        hints = [inner[0]] * len(value)
    pairs = zip(hints, value, strict=True)
    return kind(_convert(h, v, origin, f"{key}[{i}]") for i, (h, v) in enumerate(pairs))
