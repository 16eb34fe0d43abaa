"""TOML to dataclasses: whatever is wrong is named with its key and file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from avse.config import from_mapping, load_config, resolved
from avse.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Inner:
    rate: float = 0.5
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[int, float] = (1, 2.0)
    kind: Literal["a", "b"] = "a"

    def __post_init__(self) -> None:
        if self.rate < 0:
            raise ValueError("rate: expected 0 or more")


@dataclass(frozen=True, slots=True)
class Outer:
    name: str
    steps: int = 3
    is_on: bool = True
    folder: Path | None = None
    inner: Inner = field(default_factory=Inner)
    weights: dict[str, float] = field(default_factory=dict)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


def test_file_and_overrides_stand_above_defaults(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "x"\nsteps = 5\n[inner]\nrate = 1\nsizes = [4]\n')
    config = load_config(
        Outer, path, ["inner.kind=b", "steps=7", "folder=out/run", "weights.pesq=2"]
    )
    inner = Inner(rate=1.0, sizes=(4,), kind="b")
    assert config == Outer("x", 7, folder=Path("out/run"), inner=inner, weights={"pesq": 2.0})
    assert resolved(config)["folder"] == "out/run"
    assert resolved(config)["inner"]["sizes"] == [4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "x"\nspeed = 1', r"recipe.toml.*unknown key speed; expected one of: name"),
        ('name = "x"\n[inner]\nrat = 1', r"recipe.toml.*unknown key inner.rat"),
        ("steps = 1", r"recipe.toml: missing key name"),
        ("name = 3", r"recipe.toml: name: expected str, found int 3"),
        ('name = "x"\nsteps = true', r"steps: expected int, found bool"),
        ('name = "x"\nsteps = 1.5', r"steps: expected int, found float"),
        ('name = "x"\nis_on = 1', r"is_on: expected bool"),
        ('name = "x"\nfolder = 1', r"folder: expected .*Path"),
        ('name = "x"\ninner = 3', r"inner: expected Inner"),
        ('name = "x"\n[inner]\nkind = "c"', r"inner.kind: expected .*Literal"),
        ('name = "x"\n[inner]\nsizes = ["a"]', r"inner.sizes\[0\]: expected int"),
        ('name = "x"\n[inner]\npair = [1]', r"inner.pair: expected 2 values, found 1"),
        ('name = "x"\n[inner]\nrate = -1', r"recipe.toml: inner.rate: expected 0 or more"),
        ("name = ", r"recipe.toml: expected TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(Outer, write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.toml: expected a readable"):
        load_config(Outer, tmp_path / "nowhere.toml")


@pytest.mark.parametrize("override", ["steps", "=3", "inner..rate=1"])
def test_an_override_needs_key_and_value(override: str) -> None:
    with pytest.raises(ConfigError, match="--set: expected"):
        load_config(Outer, None, [override])


def test_a_wrong_override_says_where_it_came_from() -> None:
    with pytest.raises(ConfigError, match=r"defaults \+ --set: steps: expected int"):
        load_config(Outer, None, ["name=x", "steps=many"])


def test_resolved_goes_back_to_the_same_config() -> None:
    config = Outer("x", folder=Path("a"), weights={"b": 1.0})
    assert from_mapping(Outer, resolved(config), "again") == config
