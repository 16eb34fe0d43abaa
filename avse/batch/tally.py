"""How far a batch is, for whoever shows it."""

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Tally:
    """Counts of one run.

    Attributes:
        n_total: Clips that were asked for.
        n_done: Enhanced by this run.
        n_skipped: Finished before, by this or another run.
        n_failed: Without a result, this run.
        n_failed_before: Without a result from a former run, and not tried again.
        n_left: Not begun, beyond the limit.
        audio_s: Seconds of sound that were enhanced.
        bytes_total: Size of the clips to be done.
        bytes_ended: Size of those that were done or failed.
        start_s: When the run began, by the monotonic clock.
    """

    n_total: int = 0
    n_done: int = 0
    n_skipped: int = 0
    n_failed: int = 0
    n_failed_before: int = 0
    n_left: int = 0
    audio_s: float = 0.0
    bytes_total: int = 0
    bytes_ended: int = 0
    start_s: float = field(default_factory=time.monotonic)

    @property
    def n_ended(self) -> int:
        """Clips there is nothing more to do about."""
        return self.n_done + self.n_skipped + self.n_failed + self.n_failed_before

    @property
    def elapsed_s(self) -> float:
        """Since the run began."""
        return time.monotonic() - self.start_s

    @property
    def speed(self) -> float:
        """Seconds of sound in a second."""
        return self.audio_s / max(self.elapsed_s, 1e-9)

    @property
    def left_s(self) -> float | None:
        """Expected time to the end, by the size of what is left; None while nobody knows.

        Clips that failed at once say nothing of how long the others take.
        """
        if self.bytes_ended <= 0 or not self.n_done:
            return None
        left = max(0, self.bytes_total - self.bytes_ended)
        return self.elapsed_s * left / self.bytes_ended
