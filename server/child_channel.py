"""The pipe from a decode child to the model process: one JSON message a line."""

import json
import os
import select
import time
from collections.abc import Iterator
from typing import Any

_MAX_LINE_BYTES = 4 * 2**20
_MIN_STEP = 0.01
_MIN_STEP_S = 0.1


class ChannelAbused(ValueError):
    """The child sent something that is not a message."""


class ChildChannel:
    """The child's end."""

    def __init__(self, descriptor: int) -> None:
        """Write to an open pipe."""
        self._descriptor = descriptor
        self._last = ("", 0.0, 0.0)

    def progress(self, stage: str, done: float, total: float) -> None:
        """Tell how far a stage is, not more often than anyone could look."""
        fraction = min(1.0, max(0.0, done / total)) if total > 0 else 0.0
        last_stage, last_fraction, last_s = self._last
        now_s = time.monotonic()
        is_step = fraction - last_fraction >= _MIN_STEP and now_s - last_s >= _MIN_STEP_S
        if stage != last_stage or is_step:
            self._last = (stage, fraction, now_s)
            self.send({"progress": [stage, round(fraction, 3)]})

    def send(self, message: dict[str, Any]) -> None:
        """Send one message whole."""
        line = memoryview(json.dumps(message).encode() + b"\n")
        while line:
            line = line[os.write(self._descriptor, line) :]


def read_messages(descriptor: int, timeout_s: float) -> Iterator[dict[str, Any] | None]:
    """Messages as they come, None whenever `timeout_s` passed without any, until the pipe closes.

    Raises:
        ChannelAbused: A line is too long or not a JSON object.
    """
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    held = b""
    while True:
        if not poll.poll(1000 * timeout_s):
            yield None
            continue
        block = os.read(descriptor, 65_536)
        if not block:
            return
        *lines, held = (held + block).split(b"\n")
        if len(held) > _MAX_LINE_BYTES:
            raise ChannelAbused("a message without an end")
        yield from map(_message, lines)


def _message(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ChannelAbused("a message that is not JSON") from error
    if not isinstance(message, dict):
        raise ChannelAbused("a message that is not an object")
    return message
