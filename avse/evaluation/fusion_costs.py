"""What each fusion costs: table 6 of the MMTM paper, counted instead of timed."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from avse.evaluation.evaluate import write_whole
from models.fusion import FusionPoint, build_fusion
from models.i3d import I3D, INCEPTIONS, I3DConfig
from models.video_towers import STREAM_CHANNELS
from preprocessing.types import Progress, no_progress

N_MODULES = (6, 7)
"""The paper's text has a module after the last six inception modules; its table fits seven."""

LEAST_SHOWN = 50_000
"""Element-wise work below this (a few vectors) is left blank in the tables."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One line of the table.

    Attributes:
        label: What it is called.
        fusion: Key of `models.fusion.FUSIONS`; None = one tower over concatenated inputs.
        paper_flops: Of table 6 as printed; empty where the paper has none.
        paper_parameters_m: Of table 6, in millions.
    """

    label: str
    fusion: str | None
    paper_flops: str = ""
    paper_parameters_m: float | None = None


TABLE_6 = (
    Variant("Early fusion", None, "247 M", 12.3),
    Variant("Late fusion", "late", "405 M", 24.6),
    Variant("Convolutional MMTM", "conv-gate", "25.24 G", 31.6),
    Variant("Convolutional MMTM (sum)", "conv-sum", "25.24 G", 31.6),
    Variant("SE + late fusion", "se", "472 M", 31.6),
    Variant("MMTM", "mmtm", "472 M", 31.6),
)
OTHERS = (
    Variant("MMTM, the authors' code", "mmtm-code"),
    Variant("Early, between towers", "early"),
    Variant("Concatenation", "concat"),
    Variant("MSAF", "msaf"),
    Variant("GMU", "gmu"),
    Variant("CentralNet", "centralnet"),
    Variant("MFAS, four layers", "mfas"),
)


@dataclass(frozen=True, slots=True)
class CostConfig:
    """The network that is counted.

    Attributes:
        streams: Picture streams; table 6 is about colour and depth.
        n_classes: Of NVGesture.
        n_frames: Of a clip.
        size_px: Of its pictures, square.
        width: Multiplies the towers' channels; below 1 only in tests.
    """

    streams: tuple[str, ...] = ("rgb", "depth")
    n_classes: int = 25
    n_frames: int = 64
    size_px: int = 224
    width: float = 1.0


@dataclass(frozen=True, slots=True)
class Cost:
    """One line, counted.

    Attributes:
        variant: Which fusion.
        n_modules: Inception modules, counted from the last, after which streams meet.
        parameters: Of towers and fusion.
        fusion_parameters: What the fusion adds to late fusion.
        flops: Of one clip, two for each multiply-add of convolutions and linear layers.
        fusion_flops: What the fusion adds to late fusion.
        fusion_elements: Element-wise work it adds: averages, sums, products, activations.
    """

    variant: Variant
    n_modules: int
    parameters: int
    fusion_parameters: int
    flops: int
    fusion_flops: int
    fusion_elements: int


def fusion_costs(
    config: CostConfig, n_modules: Sequence[int] = N_MODULES, progress: Progress = no_progress
) -> list[Cost]:
    """Costs of every variant for each number of modules; nothing is computed, only counted."""
    towers = [_Tower.of(config, STREAM_CHANNELS[name]) for name in config.streams]
    early = _Tower.of(config, sum(STREAM_CHANNELS[name] for name in config.streams))
    work = [(n, variant) for n in n_modules for variant in (*TABLE_6, *OTHERS)]
    costs = []
    for done, (n, variant) in enumerate(work):
        progress("count", done, len(work))
        if variant.fusion is None:
            costs.append(Cost(variant, n, early.count.parameters, 0, early.count.flops, 0, 0))
        else:
            costs.append(_cost(variant, n, config, towers))
    progress("count", len(work), len(work))
    return costs


@dataclass(frozen=True, slots=True)
class _Count:
    parameters: int
    flops: int
    elements: int


@dataclass(frozen=True, slots=True)
class _Tower:
    """I3D, counted, and the shapes of what its inception modules give."""

    count: _Count
    shapes: dict[str, torch.Size]

    @classmethod
    def of(cls, config: CostConfig, n_channels: int) -> Self:
        with torch.device("meta"):
            tower = I3D(I3DConfig(config.n_classes, n_channels, config.width)).eval()
            clip = torch.empty(1, n_channels, config.n_frames, config.size_px, config.size_px)
        shapes: dict[str, torch.Size] = {}

        def run() -> None:
            after, x = None, clip
            for stage in INCEPTIONS:
                x = tower.run(x, after, stage)
                after, shapes[stage] = stage, x.shape
            tower.classify(tower.pool(x))

        return cls(_counted(tower, run), shapes)


def _cost(variant: Variant, n_modules: int, config: CostConfig, towers: Sequence[_Tower]) -> Cost:
    """Towers and fusion together."""
    stages = INCEPTIONS[-n_modules:]
    with torch.device("meta"):
        features = [[torch.empty(tower.shapes[stage]) for tower in towers] for stage in stages]
        logits = [torch.empty(1, config.n_classes) for _ in towers]
        points = [FusionPoint(tuple(x.shape[1] for x in maps)) for maps in features]
        fusion = build_fusion(str(variant.fusion), points, config.n_classes).eval()

    def run() -> None:
        state = fusion.begin()
        for depth, maps in enumerate(features):
            fusion(state, depth, maps)
        fusion.decide(state, [x[:, :, 0, 0, 0] for x in features[-1]], logits)

    own = _counted(fusion, run)
    return Cost(
        variant,
        n_modules,
        own.parameters + sum(tower.count.parameters for tower in towers),
        own.parameters,
        own.flops + sum(tower.count.flops for tower in towers),
        own.flops,
        own.elements,
    )


def _counted(network: nn.Module, run: Callable[[], None]) -> _Count:
    flops, elements = FlopCounterMode(display=False), _ElementCounter()
    with torch.no_grad(), flops, elements:
        run()
    n_parameters = sum(p.numel() for p in network.parameters())
    return _Count(n_parameters, flops.get_total_flops(), elements.n_elements)


class _ElementCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what the counter of FLOPs leaves out: one for each element read or written."""

    COUNTED = frozenset({"mean", "sum", "mul", "add", "sigmoid", "relu", "tanh", "_softmax", "div"})

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.n_elements = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in self.COUNTED:
            tensors = [x for x in (*args, result) if isinstance(x, torch.Tensor)]
            self.n_elements += max(x.numel() for x in tensors)
        return result


def columns() -> list[str]:
    """Heads of the table; all but the first are numbers."""
    paper = ["FLOPs (paper)", "parameters (paper)"]
    fusion = ["fusion: FLOPs", "fusion: element-wise", "fusion: parameters"]
    return ["", *paper, "FLOPs", "parameters", *fusion, "x late"]


def lines(costs: Sequence[Cost], n_modules: int) -> list[list[str]]:
    """Rows of the table for one number of modules."""
    chosen = [cost for cost in costs if cost.n_modules == n_modules]
    (late,) = [cost for cost in chosen if cost.variant.fusion == "late"]
    return [_line(cost, late) for cost in chosen]


def _line(cost: Cost, late: Cost) -> list[str]:
    paper = cost.variant.paper_parameters_m
    return [
        cost.variant.label,
        cost.variant.paper_flops,
        "" if paper is None else f"{paper:.1f} M",
        f"{cost.flops / 1e9:.1f} G",
        f"{cost.parameters / 1e6:.2f} M",
        f"{cost.fusion_flops / 1e6:,.1f} M" if cost.fusion_flops else "",
        f"{cost.fusion_elements / 1e6:,.1f} M" if cost.fusion_elements > LEAST_SHOWN else "",
        f"{cost.fusion_parameters / 1e6:.2f} M" if cost.fusion_parameters else "",
        f"{cost.parameters / late.parameters:.2f}",
    ]


def save_costs(folder: Path, costs: Sequence[Cost], config: CostConfig) -> tuple[Path, Path]:
    """Write `fusion-costs.json` and `fusion-costs.md`.

    Raises:
        OutputError: They cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    document = {"network": asdict(config), "torch": torch.__version__.split("+")[0]}
    text = json.dumps({**document, "rows": [asdict(cost) for cost in costs]}, indent=1)
    paths = folder / "fusion-costs.json", folder / "fusion-costs.md"
    write_whole(paths[0], f"{text}\n".encode())
    write_whole(paths[1], page(costs, config).encode())
    return paths


def page(costs: Sequence[Cost], config: CostConfig) -> str:
    """The tables and how they relate to the paper's, as markdown."""
    parts = [_INTRODUCTION.format(config=config, streams=" and ".join(config.streams))]
    for n_modules in dict.fromkeys(cost.n_modules for cost in costs):
        after = ", ".join(INCEPTIONS[-n_modules:])
        parts.append(f"## {n_modules} modules: after {after}\n\n{_markdown(costs, n_modules)}")
    return "\n".join([*parts, _READINGS])


def _markdown(costs: Sequence[Cost], n_modules: int) -> str:
    heads = columns()
    rule = ["---", *["--:"] * (len(heads) - 1)]
    rows = [heads, rule, *lines(costs, n_modules)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


_INTRODUCTION = """# What each fusion costs

Table 6 of the MMTM paper, counted again by `avse tables fusion-costs --out docs`: I3D on
{streams}, {config.n_frames} frames of {config.size_px} x {config.size_px}, {config.n_classes}
classes, one clip. A multiply-add is two FLOPs; the element-wise column counts averages, sums,
products and activations, which counters of FLOPs leave out. "x late" compares the parameters.
"""

_READINGS = """## Which reading gives the paper's numbers

- Parameters of early and late fusion: 12.3 M and 24.6 M, as printed.
- Parameters of MMTM: the text (section 4.1) says the last six inception modules, which is 6.48 M
  for two streams and 31.05 M in all. The printed 31.6 M is seven modules, 4b too: 7.01 M and
  31.58 M. SE with a reduction of 2 and both convolutional forms have as many, as printed.
- FLOPs of convolutional MMTM: printed 25.24 G, which is late fusion (405 M) plus 24.83 G. Seven
  modules are 24.77 G in their convolutions (the 0.06 G left are about their element-wise work);
  six are 21.49 G. So table 6 was counted with seven modules, on 64 frames of 224 x 224.
- FLOPs of the towers: I3D on such clips cannot be 247 M (early) or 405 M (late). Read as G they
  are near ours, 240 G and 409 G. The printed column then adds G of the towers as M: convolutional
  MMTM adds 6 % to its towers, neither "about 5 times" as the text says nor 53 times as the table.
- FLOPs of MMTM: printed 67 M more than late fusion. Seven modules are 14 M in linear layers and
  39 M for averaging and gating, 53 M together; no way of counting that was tried gives 67 M.
- What the comparison says holds: with the same parameters, the squeeze makes the fusion more than
  a thousand times cheaper, and MMTM costs next to nothing beside its towers.
"""
