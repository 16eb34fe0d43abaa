"""Uploads: multipart/form-data straight to the spool, every limit enforced while it arrives.

Starlette's form parser would keep a copy in a temporary file and look at sizes afterwards.
"""

import asyncio
import hashlib
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from anyio import to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from server.errors import ApiError
from server.spool import Spool, part_path, put_in_place

_BUFFER_BYTES = 256 * 1024
_OVERHEAD_BYTES = 256 * 1024  # boundaries, headers and fields around the files
_ROOM_EVERY_BYTES = 16_000_000
_NAME_CHARS = 80


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """What one request may send.

    Attributes:
        max_bytes: All files together.
        max_fields: Fields that are not files.
        max_field_bytes: Name and value of one field.
        idle_s: Silence of the client.
        min_bytes_s: Bytes a second it must send, once twice `idle_s` have passed.
        total_s: The whole upload.
        min_free_bytes: Room that stays free on the disk.
    """

    max_bytes: int
    max_fields: int = 20
    max_field_bytes: int = 4096
    idle_s: float = 15.0
    min_bytes_s: float = 0.0
    total_s: float = 900.0
    min_free_bytes: int = 0


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """One file of an upload, in place.

    Attributes:
        user_name: What the user calls it, made harmless; never a path.
        n_bytes: Size.
        sha256: Of its bytes, hex.
    """

    user_name: str
    n_bytes: int
    sha256: str


@dataclass(slots=True)
class Received:
    """A whole upload."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[str, ReceivedFile] = field(default_factory=dict)


def harmless_name(name: str) -> str:
    """The last part of a file name without anything but letters, digits, space and `._-()`."""
    last = re.split(r"[/\\]", name)[-1]
    kept = "".join(char for char in last if char.isalnum() or char in " ._-()")
    return " ".join(kept.split()).strip(" .")[:_NAME_CHARS]


def check_announced(request: Request, limits: UploadLimits, spool: Spool) -> bytes:
    """Look at the headers before a byte of the body is read; returns the boundary.

    Raises:
        ApiError: Not multipart, too large, or no room for it.
    """
    kind, parameters = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        found = "expected Content-Type: multipart/form-data"
        raise ApiError("invalid_request", found, param="Content-Type", status=415)
    if not parameters.get(b"boundary"):
        raise ApiError("invalid_request", "the multipart boundary is missing", param="Content-Type")
    announced = int(request.headers.get("content-length", "0"))
    if announced > limits.max_bytes + _OVERHEAD_BYTES:
        raise _too_large(limits)
    _check_room(spool, announced, limits)
    return parameters[b"boundary"]


async def receive_form(
    request: Request,
    spool: Spool,
    job_id: str,
    file_names: Mapping[str, str],
    limits: UploadLimits,
) -> Received:
    """Receive an upload into the job's folder, which must exist.

    Args:
        request: Its body has not been read.
        spool: Where files go.
        job_id: Whose folder.
        file_names: Parts that are files, and the fixed name each is stored under.
        limits: Enforced while receiving.

    Raises:
        ApiError: A limit is exceeded, the client is too slow or the form is malformed.
        ClientDisconnect: The client went away.
    """
    boundary = check_announced(request, limits, spool)
    upload = _Upload(spool, job_id, file_names, limits)
    try:
        parser = MultipartParser(boundary, upload.callbacks())  # type: ignore[arg-type]
        async with asyncio.timeout(limits.total_s):
            async for chunk in _chunks(request, limits):
                parser.write(chunk)
                if upload.n_pending >= _BUFFER_BYTES:
                    await to_thread.run_sync(upload.store)
        await to_thread.run_sync(upload.store)
    except FormParserError as error:
        raise ApiError("invalid_request", "the multipart body is malformed") from error
    except TimeoutError as error:
        raise _too_slow(f"{limits.total_s:g} s") from error
    finally:
        upload.close()
    if not upload.is_complete:
        raise ApiError("invalid_request", "the multipart body ends too early")
    return upload.received


async def _chunks(request: Request, limits: UploadLimits) -> AsyncIterator[bytes]:
    stream = request.stream()
    n_left = max_left = limits.max_bytes + _OVERHEAD_BYTES  # what lies around the parts counts too
    start_s = time.monotonic()
    while True:
        try:
            async with asyncio.timeout(limits.idle_s):
                chunk = await anext(stream, None)
        except TimeoutError as error:
            raise _too_slow(f"{limits.idle_s:g} s of silence") from error
        if chunk is None:
            return
        n_left -= len(chunk)
        if n_left < 0:
            raise _too_large(limits)
        spent_s = time.monotonic() - start_s
        if spent_s > 2 * limits.idle_s and max_left - n_left < limits.min_bytes_s * spent_s:
            raise _too_slow(f"{limits.min_bytes_s:g} bytes a second would take")
        yield chunk


def _too_slow(limit: str) -> ApiError:
    return ApiError("invalid_request", f"the upload took longer than {limit}", status=408)


def _too_large(limits: UploadLimits) -> ApiError:
    return ApiError("payload_too_large", f"expected {limits.max_bytes} bytes at most", param="file")


def _check_room(spool: Spool, n_bytes: int, limits: UploadLimits) -> None:
    if spool.free_bytes() - n_bytes < limits.min_free_bytes:
        raise ApiError("insufficient_storage", "there is no room on the disk for this upload")


class _Upload:
    """State of one upload: what the parser found, and what is still to be written.

    The parser's callbacks only note things down; `store` writes, in a thread.
    """

    def __init__(
        self, spool: Spool, job_id: str, file_names: Mapping[str, str], limits: UploadLimits
    ) -> None:
        self.received = Received()
        self.n_pending = 0
        self.is_complete = False
        self._spool, self._job_id = spool, job_id
        self._file_names, self._limits = file_names, limits
        self._n_bytes = self._n_fields = self._room_checked_at = 0
        self._header = (bytearray(), bytearray())
        self._disposition = b""
        self._name = ""
        self._value: bytearray | None = None
        self._todo: list[tuple[str, bytes | str | None]] = []
        self._open: _OpenFile | None = None

    def callbacks(self) -> dict[str, object]:
        """For python-multipart."""
        names = [
            "part_begin",
            "part_data",
            "part_end",
            "header_field",
            "header_value",
            "header_end",
            "end",
        ]
        found = {f"on_{name}": getattr(self, f"_on_{name}") for name in names}
        return {**found, "on_headers_finished": self._on_headers_finished}

    def _on_part_begin(self) -> None:
        self._disposition, self._name, self._value = b"", "", None

    def _on_header_field(self, chunk: bytes, start: int, end: int) -> None:
        self._header[0].extend(chunk[start:end])

    def _on_header_value(self, chunk: bytes, start: int, end: int) -> None:
        self._header[1].extend(chunk[start:end])

    def _on_header_end(self) -> None:
        name, value = self._header
        if bytes(name).lower() == b"content-disposition":
            self._disposition = bytes(value)
        self._header = (bytearray(), bytearray())

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")[:_NAME_CHARS]
        if not self._name:
            raise ApiError("invalid_request", "a part of the form has no name")
        if self._name in self.received.fields or self._name in self.received.files:
            raise self._invalid("was sent twice")
        if self._name in self._file_names:
            if b"filename" not in options:
                raise self._invalid("expected a file, found a text field")
            self._begin_file(options[b"filename"].decode("utf-8", "replace"))
            return
        if b"filename" in options:
            raise self._invalid("no file is expected under this name")
        self._begin_field()

    def _begin_file(self, user_name: str) -> None:
        # Noted at once, so that a second part of the name is seen.
        self.received.files[self._name] = ReceivedFile(harmless_name(user_name), 0, "")
        self._todo.append((self._name, None))

    def _begin_field(self) -> None:
        self._n_fields += 1
        if self._n_fields > self._limits.max_fields:
            raise self._invalid(f"expected at most {self._limits.max_fields} fields")
        self._value = bytearray()

    def _on_part_data(self, chunk: bytes, start: int, end: int) -> None:
        if self._value is not None:
            self._value.extend(chunk[start:end])
            if len(self._value) + len(self._name) > self._limits.max_field_bytes:
                limit = self._limits.max_field_bytes
                raise ApiError(
                    "payload_too_large",
                    f"{self._name}: expected at most {limit} bytes",
                    param=self._name,
                )
            return
        self._n_bytes += end - start
        if self._n_bytes > self._limits.max_bytes:
            raise _too_large(self._limits)
        self._todo.append((self._name, chunk[start:end]))
        self.n_pending += end - start

    def _on_part_end(self) -> None:
        if self._value is None:
            self._todo.append((self._name, ""))
            return
        try:
            text = self._value.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self._invalid("expected UTF-8") from error
        if "\0" in text:
            raise self._invalid("expected text without zero bytes")
        self.received.fields[self._name] = text

    def _on_end(self) -> None:
        self.is_complete = True

    def _invalid(self, what: str) -> ApiError:
        return ApiError("invalid_request", f"{self._name}: {what}", param=self._name)

    def store(self) -> None:
        """Write what was noted: None opens a file, bytes go into it, text closes it."""
        todo, self._todo, self.n_pending = self._todo, [], 0
        if self._n_bytes - self._room_checked_at >= _ROOM_EVERY_BYTES:
            self._room_checked_at = self._n_bytes
            _check_room(self._spool, 0, self._limits)
        for name, what in todo:
            if what is None:
                stored = self._file_names[name]
                self._open = _OpenFile(self._spool.input_path(self._job_id, stored))
            elif isinstance(what, bytes) and self._open is not None:
                self._open.write(what)
            elif self._open is not None:
                n_bytes, sha256 = self._open.finish()
                user_name = self.received.files[name].user_name
                self.received.files[name] = ReceivedFile(user_name, n_bytes, sha256)
                self._open = None

    def close(self) -> None:
        """Close what an error left open; the caller removes the folder."""
        if self._open is not None:
            self._open.file.close()


class _OpenFile:
    """A file on its way to its place, hashed as it is written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.file: BinaryIO = part_path(path).open("xb")
        self._hash = hashlib.sha256()
        self._n_bytes = 0

    def write(self, chunk: bytes) -> None:
        self.file.write(chunk)
        self._hash.update(chunk)
        self._n_bytes += len(chunk)

    def finish(self) -> tuple[int, str]:
        self.file.close()
        put_in_place(part_path(self._path), self._path)
        return self._n_bytes, self._hash.hexdigest()
