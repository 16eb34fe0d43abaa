"""One JSON object a line on stderr; no media, no file names, no paths of users or of jobs."""

import json
import logging
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

request_id_var: ContextVar[str] = ContextVar("request_id", default="")
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
_MAX_FRAMES = 12


class JsonFormatter(logging.Formatter):
    """A log record as one line of JSON; `extra=` members stand beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": at,
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id := request_id_var.get():
            line["request_id"] = request_id
        line |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = describe(record.exc_info[1])
        return json.dumps(line, default=str, ensure_ascii=False)


def describe(error: BaseException) -> dict[str, Any]:
    """Kind and place of an exception; the text of an OSError names a path and is left out."""
    frames = traceback.extract_tb(error.__traceback__)[-_MAX_FRAMES:]
    where = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames]
    text = (error.strerror or "") if isinstance(error, OSError) else str(error)
    return {"type": type(error).__name__, "text": text[:300], "where": where}


def configure(level: str) -> None:
    """Send all logs of this process to stderr as JSON; uvicorn's access log is replaced by ours."""
    root = logging.getLogger()
    json_handlers = [each for each in root.handlers if isinstance(each.formatter, JsonFormatter)]
    if not json_handlers:
        to_stderr = logging.StreamHandler(sys.stderr)
        to_stderr.setFormatter(JsonFormatter())
        root.handlers = [to_stderr]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], True
    logging.getLogger("uvicorn.access").disabled = True
