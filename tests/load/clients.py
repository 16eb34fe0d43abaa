"""Many clients in one thread: HTTP over asyncio streams, cheap beside what is measured."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.server.raw_http import form, request

PATIENCE_S = 300.0


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; status 0 where the connection broke.

    Attributes:
        status: Of the answer.
        headers: Names in lower case.
        body: Its bytes.
        began_s: When the request was sent, monotonic.
        took_s: Until the last byte of the answer.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    began_s: float
    took_s: float


def enhancement(clip: bytes, path: str = "/v1/audio/enhancements", **fields: str) -> bytes:
    """A request with a clip, for a connection that stays open."""
    return request("POST", path, form(clip, "clip.mp4", **fields), [("Connection", "keep-alive")])


class Caller:
    """One client: a connection, opened again when the server closes it."""

    def __init__(self, port: int) -> None:
        """Connect to nothing yet."""
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, sent: bytes) -> Reply:
        """Send a request and read its answer."""
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                status, headers, body = await self._exchange(sent)
        except (OSError, EOFError, TimeoutError):
            self.close()
            return Reply(0, {}, b"", began_s, time.monotonic() - began_s)
        return Reply(status, headers, body, began_s, time.monotonic() - began_s)

    async def _exchange(self, sent: bytes) -> tuple[int, dict[str, str], bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(sent)  # the answer may come before all of it has gone
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection") == "close":
            self.close()
        return int(first.split()[1]), headers, body

    def close(self) -> None:
        """Hang up."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@dataclass(slots=True)
class Crowd:
    """What a number of clients were answered.

    Attributes:
        replies: All of them.
        wall_s: From the first request to the last answer.
    """

    replies: list[Reply] = field(default_factory=list)
    wall_s: float = 0.0

    def well(self) -> list[Reply]:
        """Those with a result."""
        return [each for each in self.replies if each.status == 200]

    def refused(self) -> list[Reply]:
        """Those that were told to come again later."""
        return [each for each in self.replies if each.status in (429, 503)]


async def closed_loop(port: int, sent: bytes, n_clients: int, seconds: float) -> Crowd:
    """Each client asks again as soon as it is answered; one refused waits half a second."""
    crowd = Crowd()
    start_s = time.monotonic()

    async def live() -> None:
        caller = Caller(port)
        while time.monotonic() - start_s < seconds:
            reply = await caller.ask(sent)
            crowd.replies.append(reply)
            if reply.status != 200:
                await asyncio.sleep(0.5)
        caller.close()

    await asyncio.gather(*(live() for _ in range(n_clients)))
    crowd.wall_s = time.monotonic() - start_s
    return crowd


async def open_loop(port: int, sent: bytes, per_s: float, seconds: float) -> Crowd:
    """Requests at a fixed pace, whether or not those before were answered."""
    crowd = Crowd()
    start_s = time.monotonic()

    async def once() -> None:
        caller = Caller(port)
        crowd.replies.append(await caller.ask(sent))
        caller.close()

    under_way = []
    for number in range(round(per_s * seconds)):
        await asyncio.sleep(max(0.0, start_s + number / per_s - time.monotonic()))
        under_way.append(asyncio.create_task(once()))
    await asyncio.gather(*under_way)
    crowd.wall_s = time.monotonic() - start_s
    return crowd
