"""How many uploads come in at one time."""

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
