"""Parent of the decode children: everything imported and opened once, then one fork for each task.

It reads no media itself and runs no thread, so that a fork is safe. The model process sends a task
with the writing end of a pipe; the child takes on its limits, does the task, tells of it through
the pipe and ends. Run as `python -m server.zygote SOCKET_FD PARENT_PID` with settings on stdin.
What is large is imported in `main`, so that a parent's end is noticed from the start.
"""

import contextlib
import gc
import json
import logging
import os
import select
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from server import sandbox
from server.logs import configure
from server.sandbox import ChildLimits

if TYPE_CHECKING:
    from server.child_tasks import ChildContext

logger = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 65_536
_IDLE_S = 0.5


@dataclass(frozen=True, slots=True)
class ZygoteSettings:
    """What the zygote is told on its standard input.

    Attributes:
        detector: Name of the face detector.
        limits: What each child may use.
        log_level: Of its lines on stderr.
    """

    detector: str = "embedded"
    limits: ChildLimits = field(default_factory=ChildLimits)
    log_level: str = "INFO"


class Zygote:
    """Forks a child for each task and tells how each ended.

    Args:
        control: Connected socket to the model process; messages keep their bounds.
        context: What every child starts with.
        limits: What each child may use.
        open_rest: Imports what only some children need; called once, when there is time.
    """

    def __init__(
        self,
        control: socket.socket,
        context: "ChildContext",
        limits: ChildLimits,
        open_rest: Callable[[], None] = lambda: None,
    ) -> None:
        """Start without children."""
        self._control = control
        self._context = context
        self._limits = limits
        self._open_rest = open_rest
        self._pid = os.getpid()
        self._children: dict[int, tuple[int, int]] = {}  # pidfd -> (task id, pid)

    def serve(self) -> None:
        """Fork, end and report children until the model process closes the socket."""
        self._tell({"ready": self._pid})
        control = self._control.fileno()
        idle_s: float | None = _IDLE_S
        while True:
            ready, _, _ = select.select([control, *self._children], [], [], idle_s)
            if not ready:
                self._open_rest()
                idle_s = None
            for descriptor in ready:
                if descriptor != control:
                    self._reap(descriptor)
            if control in ready and not self._receive():
                return

    def _receive(self) -> bool:
        """Act on one message; False at the end of the conversation."""
        content, descriptors, _, _ = socket.recv_fds(self._control, MAX_MESSAGE_BYTES, 1)
        if not content:
            return False
        message = json.loads(content)
        if "stop" in message:
            self._stop(int(message["stop"]))
        else:
            self._fork(message, descriptors[0])
        return True

    def _fork(self, message: dict[str, Any], pipe: int) -> None:
        pid = os.fork()
        if pid == 0:
            self._become_child(message, pipe)
        os.close(pipe)
        self._children[os.pidfd_open(pid)] = (int(message["id"]), pid)

    def _become_child(self, message: dict[str, Any], pipe: int) -> None:
        """Do the task and end, whatever happens."""
        status = 70
        try:
            sandbox.die_with_parent(self._pid)
            for descriptor in (self._control.fileno(), *self._children):
                os.close(descriptor)
            status = run_task(message, pipe, self._context, self._limits)
        finally:
            os._exit(status)

    def _stop(self, task_id: int) -> None:
        """Kill the child of a task, if it has not ended by itself."""
        for descriptor, (own_id, _) in self._children.items():
            if own_id == task_id:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)

    def _reap(self, descriptor: int) -> None:
        task_id, pid = self._children.pop(descriptor)
        os.close(descriptor)
        _, status = os.waitpid(pid, 0)
        self._tell({"id": task_id, "exit": os.waitstatus_to_exitcode(status)})

    def _tell(self, message: dict[str, Any]) -> None:
        self._control.send(json.dumps(message).encode())


def run_task(
    message: dict[str, Any], pipe: int, context: "ChildContext", limits: ChildLimits
) -> int:
    """Take on the limits, do a task and send its result or its failure.

    Returns:
        The exit status: 0 if one of the two was sent, 1 if nobody listened.
    """
    tasks = import_module("server.child_tasks").TASKS
    failure_of = import_module("server.failures").failure_of
    channel = import_module("server.child_channel").ChildChannel(pipe)
    folder = Path(message["folder"])
    tempfile.tempdir = str(folder)
    sandbox.enter(limits)
    try:
        result = tasks[message["task"]](folder, message["options"], context, channel.progress)
    except BrokenPipeError:  # the model process was killed: nobody listens, and this one is next
        return 1
    except BaseException as error:
        failure = failure_of(error)
        channel.send({"failure": [failure.code, failure.detail]})
    else:
        channel.send({"result": result})
    return 0


def _read_settings(text: str) -> ZygoteSettings:
    fields = json.loads(text)
    return ZygoteSettings(**{**fields, "limits": ChildLimits(**fields["limits"])})


def main(arguments: Sequence[str]) -> None:
    """Serve the model process on the socket that it left open."""
    sandbox.die_with_parent(int(arguments[1]))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the model process decides when to end
    sandbox.limit_memory_arenas()
    settings = _read_settings(sys.stdin.read())
    configure(settings.log_level)
    import_module("torch").set_num_threads(1)
    tasks = import_module("server.child_tasks")
    context = tasks.open_context(settings.detector)
    gc.freeze()
    with socket.socket(fileno=int(arguments[0])) as control:
        Zygote(control, context, settings.limits, tasks.open_rest).serve()


if __name__ == "__main__":
    main(sys.argv[1:])
