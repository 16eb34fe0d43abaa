"""Entry of the model process: `python -m server.worker [WORKER_ID PARENT_PID]`.

With both arguments it belongs to an API process: settings come as JSON on standard input, and it
dies with that process. Without, it takes its settings from the environment and runs alone, for
more model processes over one spool. What is large is imported after that.
"""

import logging
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from importlib import import_module

from server import sandbox
from server.decode_pool import DecodePool, pool_config
from server.logs import configure
from server.settings import Settings, settings_from_environment


def main(arguments: Sequence[str]) -> int:
    """Do jobs until SIGTERM; returns the exit status."""
    if arguments:
        worker_id, parent_pid = arguments
        sandbox.die_with_parent(int(parent_pid))
        settings = Settings.model_validate_json(sys.stdin.read())
    else:
        worker_id = f"worker_{secrets.token_hex(6)}"
        settings = settings_from_environment()
    configure(settings.log_level)
    pool = None
    if not settings.stand_in_ms:
        pool = DecodePool(pool_config(settings))
        pool.tend()  # its imports run beside ours
    opening = import_module("server.model_process").start_worker
    model_process = opening(settings, worker_id, pool)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: model_process.drain())
    model_process.run()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)  # a job given back may still sit in a thread; nothing it does counts any more


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
