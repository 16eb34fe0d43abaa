"""Bad and odd media files, each with its documented outcome."""

import http.server
import socket
import threading
from pathlib import Path

from tests.server.corpus import broken, further, hostile, lists, pictures, sounds, timing
from tests.server.corpus.case import CASES, SERVICE_LIMITS, Case, Place
from tests.server.corpus.making import pcm16, tone, wav

__all__ = ["CASES", "PARTS", "SERVICE_LIMITS", "Case", "Corpus", "Trap"]

PARTS = (broken, sounds, timing, pictures, lists, hostile, further)
"""The modules that register the cases when they are imported."""


class Trap:
    """Ports of this machine that note who knocks; nobody may."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        requests = self.requests

        class Counter(http.server.BaseHTTPRequestHandler):
            def handle(self) -> None:
                requests.append("connection")

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Counter)
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", 0))
        self._udp.setblocking(False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def url(self) -> str:
        """An address that must not be asked for."""
        return f"http://127.0.0.1:{self._server.server_port}/a.ts"

    @property
    def udp_port(self) -> int:
        """A port that must get nothing."""
        return int(self._udp.getsockname()[1])

    def seen(self) -> list[str]:
        """What came, so far."""
        try:
            self._udp.recv(1)
        except BlockingIOError:
            return self.requests
        return [*self.requests, "udp"]

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._udp.close()


class Corpus:
    """The files, each built when it is first asked for."""

    def __init__(self, folder: Path, trap: Trap) -> None:
        self._folder = folder
        self._trap = trap
        self.marker = folder / "marker"
        (folder / "neighbour.wav").write_bytes(wav(pcm16(tone())))
        self._built: dict[str, Path] = {}

    def path(self, case: Case) -> Path:
        """The file of a case."""
        if case.name not in self._built:
            path = self._folder / f"{case.name}{case.suffix}"
            neighbour = self._folder / "neighbour.wav"
            case.build(Place(path, self._trap.url, self._trap.udp_port, neighbour, self.marker))
            self._built[case.name] = path
        return self._built[case.name]
