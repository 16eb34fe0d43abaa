"""Settings every test shares."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Small tensors run faster on one thread, and the tests stay repeatable."""
    torch.set_num_threads(1)
