"""How many uploads come in, and how many calls wait for their results, at one time."""

from server.errors import ApiError


class UploadSlots:
    """How many uploads may come in at one time.

    Args:
        limit: That many.
    """

    def __init__(self, limit: int) -> None:
        """All are free."""
        self._limit = limit
        self.n_taken = 0

    def enter(self) -> None:
        """Take one.

        Raises:
            ApiError: `queue_full`, none is free.
        """
        if self.n_taken >= self._limit:
            raise ApiError("queue_full", f"{self._limit} uploads are coming in already")
        self.n_taken += 1

    def leave(self) -> None:
        """Give it back."""
        self.n_taken -= 1


class SyncCalls:
    """Calls that wait for their results: so few that each is answered soon.

    A queue that takes everybody makes everybody wait beyond their patience; counting here costs
    nothing, so that the rest is refused at once.
    """

    def __init__(self) -> None:
        """No one waits."""
        self._job_ids: set[str] = set()

    def enter(self, job_id: str, limit: int) -> None:
        """Let a call in.

        Raises:
            ApiError: `queue_full`, `limit` calls wait already.
        """
        if len(self._job_ids) >= limit:
            detail = f"{limit} calls wait for their results already; POST /v1/jobs takes more"
            raise ApiError("queue_full", detail)
        self._job_ids.add(job_id)

    def leave(self, job_id: str) -> None:
        """The call has ended; fine if it was never in."""
        self._job_ids.discard(job_id)
