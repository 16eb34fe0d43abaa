"""A running server of the page, and a tab of a real browser that notes what should not happen."""

import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
PATIENCE_MS = 120_000
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Site:
    """A running server; `key` is one it accepts, if it asks for one."""

    url: str
    key: str | None = None

    def last_job(self) -> dict:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        found = httpx.get(f"{self.url}/v1/jobs?limit=1&kind=enhancement", headers=headers)
        return found.json()["items"][0]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def started(folder: Path, *more: str) -> tuple[str, subprocess.Popen]:
    port = free_port()
    command = [sys.executable, "-m", "tests.web.stub_server", "--port", str(port)]
    command += ["--spool", str(folder / "spool"), *more]
    with (folder / "log").open("wb") as log:
        running = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            httpx.get(f"{url}/v1/health/live")
        except httpx.TransportError:
            assert running.poll() is None, (folder / "log").read_text()
            time.sleep(0.2)
        else:
            return url, running
    raise AssertionError((folder / "log").read_text())


class Watched:
    """A tab, and everything that should not have happened in it."""

    def __init__(self, page, url: str) -> None:
        self.page, self.url = page, url
        self.faults: list[str] = []
        self.asked: list[str] = []
        page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        page.on("console", self._heard)
        page.on("request", self._requested)

    def _heard(self, message) -> None:
        # The browser itself notes answers such as 401; the page shows them.
        if message.type == "error" and "status of 4" not in message.text:
            self.faults.append(f"console: {message.text}")

    def _requested(self, request) -> None:
        self.asked.append(request.url)
        if not request.url.startswith((self.url, "blob:", "data:")):
            self.faults.append(f"outside: {request.url}")

    def give(self, content: bytes, name: str = "meeting.wav", kind: str = "audio/wav") -> None:
        self.page.goto(self.url)
        self.page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": content})

    def finish_sample(self) -> None:
        self.page.goto(self.url)
        self.page.click("#sample")
        self.page.wait_for_selector(".face >> nth=2")
        self.page.click("#start")
        self.wait_for_result()

    def wait_for_result(self) -> None:
        self.page.wait_for_selector("#result:not([hidden])")
        self.page.wait_for_function("() => window.avsePlayer !== undefined")


def watched(browser, site, size=(1280, 860)):
    page = browser.new_page()
    page.set_viewport_size({"width": size[0], "height": size[1]})
    return Watched(page, site.url)
