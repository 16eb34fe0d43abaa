"""What carries clips from file to result, as the pipeline sees it, and how one machine does it."""

import logging
import queue
from dataclasses import dataclass
from multiprocessing import Pipe
from pathlib import Path
from typing import Protocol

import torch

from avse.batch.network import Enhanced, NetworkStage, Waiting
from avse.batch.readers import Readers
from avse.batch.reading import Reading, ReadTask, with_large_crops
from avse.batch.work import Work
from avse.batch.writing import Ended, WritingStage
from avse.bundle import Bundle
from avse.enhancer import Enhancer, EnhancerConfig

logger = logging.getLogger(__name__)

STOP_S = 30.0
GPU_CLIPS = 16
GPU_WINDOWS = 16


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much may be under way.

    Attributes:
        n_readers: Clips read at once.
        max_clips: In one call of the network.
        n_ahead: Clips read and not yet written.
        ahead_s: Seconds of sound read and not yet written.
        limit: Clips to begin in all; None: every one.
    """

    n_readers: int
    max_clips: int
    n_ahead: int
    ahead_s: float = 3600.0
    limit: int | None = None


def clips_in_call(device: torch.device) -> int:
    """A GPU wants many clips together, a CPU gains nothing by it."""
    return GPU_CLIPS if device.type == "cuda" else 1


def open_enhancer(bundle: Bundle, device: str, detector: str) -> Enhancer:
    """An enhancer for many clips.

    Raises:
        ModelError: The bundle or the device cannot be used.
    """
    windows = GPU_WINDOWS if device.startswith("cuda") else None
    config = EnhancerConfig(batch_windows=windows)
    return Enhancer(bundle, device=device, detector=detector, config=config)


class Stages(Protocol):
    """Read, enhance, write; each clip is known by the number of its task."""

    @property
    def n_idle(self) -> int:
        """Clips that could be read at once."""
        ...

    def read(self, task: ReadTask) -> None:
        """Start reading a clip; call it only while `n_idle` is above zero."""
        ...

    def enhance(self, reading: Reading, work: Work) -> None:
        """Enhance and write a clip that has been read."""
        ...

    def wait(self, timeout_s: float) -> list[Reading | Ended]:
        """What has been read or has ended, now or within the time.

        Raises:
            BatchStopped: It cannot go on.
        """
        ...

    def close(self) -> None:
        """End everything; what is under way is dropped."""
        ...


class LocalStages:
    """Read in processes, enhanced on the device by one thread, written by another.

    Args:
        enhancer: Does the work.
        capacity: How much at once.
        out_dir: Where results belong.
        folder: Where they are written first.
    """

    def __init__(self, enhancer: Enhancer, capacity: Capacity, out_dir: Path, folder: Path) -> None:
        """Start processes and threads."""
        self._ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
        self._wake_reading, self._wake_writing = Pipe(duplex=False)
        self._readers = Readers(capacity.n_readers)
        self._writing = WritingStage(out_dir, folder, self._on_ended)
        window_frames = enhancer.bundle.settings.chunk.window_frames
        self._network = NetworkStage(enhancer, window_frames, capacity.max_clips, self._on_enhanced)

    @property
    def n_idle(self) -> int:
        """Clips that could be read at once."""
        return self._readers.n_idle

    def read(self, task: ReadTask) -> None:
        """Start reading a clip; call it only while `n_idle` is above zero."""
        self._readers.give(task)

    def enhance(self, reading: Reading, work: Work) -> None:
        """Enhance and write a clip that has been read."""
        prepared = with_large_crops(reading)
        assert prepared is not None
        self._network.put(Waiting(reading.number, work, prepared))

    def wait(self, timeout_s: float) -> list[Reading | Ended]:
        """What has been read or has ended, now or within the time.

        Raises:
            BatchStopped: Readers die again and again before they are ready.
        """
        found: list[Reading | Ended] = [*self._readers.wait(timeout_s, self._wake_reading)]
        while self._wake_reading.poll():
            self._wake_reading.recv_bytes()
        while not self._ended.empty():
            found.append(self._ended.get())
        return found

    def close(self) -> None:
        """End processes and threads; what is under way is dropped."""
        self._readers.close()
        is_ended = self._network.stop(STOP_S) and self._writing.stop(STOP_S)
        if not is_ended:
            logger.warning("a stage did not stop within %g s", STOP_S)
        sizes = self._network.batch_sizes
        logger.info("%d calls of the network, %d clips", len(sizes), sum(sizes))
        self._wake_reading.close()
        if is_ended:
            self._wake_writing.close()

    def _on_enhanced(self, enhanced: Enhanced) -> None:
        """In the network's thread."""
        self._writing.put(enhanced)

    def _on_ended(self, ended: Ended) -> None:
        """In the writing thread."""
        self._ended.put(ended)
        self._wake_writing.send_bytes(b"1")
