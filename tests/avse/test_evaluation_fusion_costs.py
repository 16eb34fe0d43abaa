"""Counts of what fusions cost, against the network they are counted for and the paper."""

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from avse import cli
from avse.evaluation import fusion_costs as module
from avse.evaluation.fusion_costs import (
    TABLE_6,
    Cost,
    CostConfig,
    columns,
    fusion_costs,
    lines,
    save_costs,
)
from models.fusion import FUSIONS
from models.gesture import GestureConfig, GestureHead
from models.i3d import INCEPTIONS

TINY = CostConfig(n_classes=4, n_frames=8, size_px=32, width=0.1)


@pytest.fixture(scope="module")
def costs() -> list[Cost]:
    return fusion_costs(TINY, (3,))


def of(costs: list[Cost], fusion: str | None) -> Cost:
    (cost,) = [cost for cost in costs if cost.variant.fusion == fusion]
    return cost


def test_every_fusion_is_counted(costs: list[Cost]) -> None:
    assert {cost.variant.fusion for cost in costs} == {None, *FUSIONS}


@pytest.mark.parametrize("name", ["late", "mmtm", "conv-sum", "msaf", "mfas"])
def test_towers_and_fusion_make_the_head(costs: list[Cost], name: str) -> None:
    config = GestureConfig(4, ("rgb", "depth"), INCEPTIONS[-3:], name, width=0.1)
    with torch.device("meta"):
        head = GestureHead(config).eval()
        clip = {"rgb": torch.empty(1, 3, 8, 32, 32), "depth": torch.empty(1, 1, 8, 32, 32)}
    with FlopCounterMode(display=False) as flops:
        head(clip)
    assert of(costs, name).flops == flops.get_total_flops()
    assert of(costs, name).parameters == sum(p.numel() for p in head.parameters())


def test_early_is_one_tower_and_late_adds_nothing(costs: list[Cost]) -> None:
    early, late = of(costs, None), of(costs, "late")
    assert 0.45 < early.parameters / late.parameters < 0.55
    assert early.flops < late.flops
    assert (late.fusion_parameters, late.fusion_flops) == (0, 0)


def test_order_of_table_6(costs: list[Cost]) -> None:
    mmtm, se = of(costs, "mmtm"), of(costs, "se")
    gate, summed = of(costs, "conv-gate"), of(costs, "conv-sum")
    assert gate.fusion_parameters == summed.fusion_parameters == mmtm.fusion_parameters
    assert se.fusion_flops == pytest.approx(mmtm.fusion_flops, rel=0.1)
    assert gate.fusion_flops == summed.fusion_flops > mmtm.fusion_flops
    assert summed.fusion_elements < gate.fusion_elements


def test_element_wise_work_of_mmtm_is_one_average_and_one_product() -> None:
    (mmtm,) = [cost for cost in fusion_costs(TINY, (1,)) if cost.variant.fusion == "mmtm"]
    n_elements = 2 * 102 * 1 * 1 * 1  # two streams after 5c of 8 x 32 x 32
    assert 2 * n_elements <= mmtm.fusion_elements < 6 * n_elements


def test_parameters_of_table_6() -> None:
    small = CostConfig(n_frames=8, size_px=32)
    costs = fusion_costs(small, (7,))
    for variant in TABLE_6:
        found = of(costs, variant.fusion).parameters / 1e6
        assert round(found, 1) == variant.paper_parameters_m, variant.label


def test_tables_are_written(costs: list[Cost], tmp_path: Path) -> None:
    json_path, markdown_path = save_costs(tmp_path / "new", costs, TINY)
    document = json.loads(json_path.read_text(encoding="utf-8"))
    assert document["network"]["n_frames"] == 8
    assert len(document["rows"]) == len(costs)
    markdown = markdown_path.read_text(encoding="utf-8")
    assert "## 3 modules: after 4f, 5b, 5c" in markdown
    assert markdown.count("\n| ") == len(costs) + 2
    assert all(len(line) == len(columns()) for line in lines(costs, 3))


def test_command_prints_and_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = partial(CostConfig, n_frames=8, size_px=32, width=0.1)
    monkeypatch.setattr(module, "CostConfig", tiny)
    assert cli.run(["tables", "fusion-costs", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "6 modules" in printed
    assert "Convolutional MMTM (sum)" in printed
    assert (tmp_path / "fusion-costs.md").is_file()
