"""Which cores run the network and which score, so that they do not wait for each other."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from avse.device import n_cores


@dataclass(frozen=True, slots=True)
class Cores:
    """How the cores are shared.

    Attributes:
        n_scoring: Processes that score; 0 = score where the network runs.
        n_network: Threads of the network.
    """

    n_scoring: int
    n_network: int

    @classmethod
    def shared(cls, n_workers: int = 0, *, has_network: bool) -> "Cores":
        """As asked for, or a quarter of the cores to score, all of them where no network is run.

        Args:
            n_workers: Processes that score; 0 = chosen here, 1 = score where the network runs.
            has_network: Whether a network runs on these cores.
        """
        n_all = n_cores()
        if n_workers == 1 or n_all == 1:
            return cls(0, n_all)
        n_scoring = n_workers or (max(1, n_all // 4) if has_network else n_all)
        return cls(n_scoring, max(1, n_all - n_scoring))

    @contextmanager
    def for_network(self) -> Iterator[None]:
        """PyTorch with that many threads; afterwards with as many as before."""
        before = torch.get_num_threads()
        torch.set_num_threads(min(before, self.n_network))
        try:
            yield
        finally:
            torch.set_num_threads(before)
