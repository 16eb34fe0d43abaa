"""The cores of a machine are shared between the network and the processes that score."""

import pytest
import torch

from avse.evaluation import cores
from avse.evaluation.cores import Cores


@pytest.mark.parametrize(
    ("n_cores", "n_workers", "has_network", "expected"),
    [
        (1, 0, True, Cores(0, 1)),
        (1, 8, True, Cores(0, 1)),
        (2, 0, True, Cores(1, 1)),
        (2, 1, True, Cores(0, 2)),
        (2, 0, False, Cores(2, 1)),
        (16, 0, True, Cores(4, 12)),
        (16, 0, False, Cores(16, 1)),
        (16, 6, True, Cores(6, 10)),
        (4, 9, True, Cores(9, 1)),
    ],
)
def test_no_more_threads_than_cores(
    n_cores: int,
    n_workers: int,
    has_network: bool,
    expected: Cores,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cores, "n_cores", lambda: n_cores)
    assert Cores.shared(n_workers, has_network=has_network) == expected


def test_the_network_has_its_share_and_gives_it_back() -> None:
    before = torch.get_num_threads()
    with Cores(1, 1).for_network():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    with Cores(0, before + 7).for_network():
        assert torch.get_num_threads() == before  # never more than the user set
