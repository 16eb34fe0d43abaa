"""HTTP as bytes on a socket, for requests that no client library would send."""

import http.client
import json
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

BOUNDARY = b"----avse"
PATIENCE_S = 120.0
Piece = bytes | float
"""Bytes to send, or seconds to be silent."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def problem(self) -> dict[str, Any]:
        """The body as JSON."""
        found: dict[str, Any] = json.loads(self.body)
        return found


def part(name: str, content: bytes | str, file_name: str | None = None) -> bytes:
    """One part of a form."""
    head = f'Content-Disposition: form-data; name="{name}"'
    if file_name is not None:
        head += f'; filename="{file_name}"\r\nContent-Type: application/octet-stream'
    body = content.encode() if isinstance(content, str) else content
    return head.encode("utf-8", "surrogateescape") + b"\r\n\r\n" + body


def joined(parts: Iterable[bytes]) -> bytes:
    """Parts with their boundaries."""
    return b"".join(b"--" + BOUNDARY + b"\r\n" + each + b"\r\n" for each in parts) + (
        b"--" + BOUNDARY + b"--\r\n"
    )


def form(content: bytes = b"sound", file_name: str = "clip.wav", **fields: str) -> bytes:
    """A form with a file and fields."""
    texts = [part(name, value) for name, value in fields.items()]
    return joined([*texts, part("file", content, file_name)])


def request(
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Sequence[tuple[str, str]] = (),
    key: str | None = None,
) -> bytes:
    """One request; headers given here take the place of those made here."""
    given = {name.lower() for name, _ in headers}
    made = [("Host", "localhost"), ("Connection", "close")]
    if key is not None:
        made.append(("Authorization", f"Bearer {key}"))
    if body is not None:
        made.append(("Content-Type", f"multipart/form-data; boundary={BOUNDARY.decode()}"))
        if "transfer-encoding" not in given:
            made.append(("Content-Length", str(len(body))))
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in made if name.lower() not in given]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + (body or b"")


def chunked(body: bytes, size: int = 4096) -> bytes:
    """A body in chunks."""
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in [*pieces, b""])


def exchange(port: int, sent: bytes | Iterable[Piece], method: str = "POST") -> Answer | None:
    """Send it and read one answer; None where the server hangs up without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        _send(connection, [sent] if isinstance(sent, bytes) else sent)
        response = http.client.HTTPResponse(connection, method=method)
        try:
            response.begin()
            body = response.read()
        except (http.client.HTTPException, ConnectionError):
            return None
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, body)


def _send(connection: socket.socket, pieces: Iterable[Piece]) -> None:
    """Send what the other side takes; it may have answered and hung up before the end."""
    try:
        for piece in pieces:
            if isinstance(piece, bytes):
                connection.sendall(piece)
            else:
                time.sleep(piece)
    except ConnectionError:
        return


def send_and_leave(port: int, sent: bytes) -> None:
    """Send it and hang up."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        connection.sendall(sent)
