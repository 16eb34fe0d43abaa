"""Kinds of disturbance with a strength, as one writes them: `blur:4`, `opus:24`."""

from collections.abc import Mapping
from typing import Protocol, TypeVar

from avse.evaluation.errors import InvalidOptions


class HasStrengths(Protocol):
    """A kind of disturbance.

    Attributes:
        low: Least number.
        high: Greatest number.
        shown: Strengths of the results page.
    """

    @property
    def low(self) -> float: ...  # noqa: D102

    @property
    def high(self) -> float: ...  # noqa: D102

    @property
    def shown(self) -> tuple[float, ...]: ...  # noqa: D102


Kind = TypeVar("Kind", bound=HasStrengths)


def kind_and_strength(control: str, kinds: Mapping[str, Kind], what: str) -> tuple[Kind, float]:
    """`NAME:STRENGTH` as both; `what` names the option in an error.

    Raises:
        InvalidOptions: It is none, or out of range.
    """
    name, _, text = control.partition(":")
    kind = kinds.get(name)
    known = ", ".join(f"{n}:{k.low:g}..{k.high:g}" for n, k in kinds.items())
    try:
        strength = float(text)
    except ValueError:
        kind = None
    if kind is None or not kind.low <= strength <= kind.high:
        raise InvalidOptions(f"{what}: expected one of {known}, found {control!r}")
    return kind, strength


def shown_controls(kinds: Mapping[str, Kind]) -> tuple[str, ...]:
    """Every kind at its strengths of the results page, as controls."""
    return tuple(f"{name}:{s:g}" for name, kind in kinds.items() for s in kind.shown)
