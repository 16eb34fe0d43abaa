"""An answer whose file is open before its first header: deleted meanwhile, it still comes whole."""

import os
from pathlib import Path
from typing import Any

from fastapi.responses import FileResponse
from starlette.types import Receive, Scope, Send


class OpenFileResponse(FileResponse):
    """A `FileResponse` of a file that may be deleted at any moment, as when its job expires.

    `FileResponse` opens the file after it has told its length; if the file is deleted between the
    two, the answer breaks off. This one opens it at once and reads it by its descriptor.

    Args:
        path: The file; opening it blocks, so not in the event loop.
        options: As `FileResponse` takes them; the media type follows the file's own name.

    Raises:
        FileNotFoundError: It is not there.
    """

    def __init__(self, path: Path, **options: Any) -> None:
        """Open the file."""
        self._file = path.open("rb")
        descriptor = self._file.fileno()
        super().__init__(path, stat_result=os.fstat(descriptor), **options)
        self.path = f"/dev/fd/{descriptor}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, then close it."""
        with self._file:
            await super().__call__(scope, receive, send)
