"""Settings every test shares."""

import logging
import os
from collections.abc import Iterator

import pytest
import torch

if torch.backends.cpu.get_cpu_capability() == "AVX2":
    # In oneDNN's kernels for AVX2 (torch 2.11) convolutions of four channels overrun their memory
    # when they learn, and glibc aborts; those for AVX do not. Only tests have such networks.
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX")


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Small tensors run faster on one thread, and the tests stay repeatable."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """Commands and the service set up logging for their process; the next test starts afresh."""
    root, packages = logging.getLogger(), ("avse", "models", "preprocessing", "server")
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers = [h for h in root.handlers if h in handlers]
    root.setLevel(level)
    for name in packages:
        logging.getLogger(name).setLevel(logging.NOTSET)
