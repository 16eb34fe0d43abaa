"""What stops a batch as a whole; what goes wrong with one clip is a `Failure`."""

from avse.errors import ConfigError


class InvalidBatch(ConfigError):
    """The inputs or options contradict each other or are not there; nothing was done."""


class BatchStopped(Exception):
    """The batch cannot go on, as with a full disk; what was done stays done."""

    code = "batch_stopped"


class LedgerInvalid(BatchStopped):
    """The record of finished work cannot be read."""

    code = "ledger_invalid"
