"""A client of the service: `Client("http://localhost:8000").enhance("clip.mp4").save("voice.wav")`."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Any, Self

import httpx

FINAL = ("succeeded", "failed", "canceled")
PATIENCE_S = 30.0
# A recognition head that is being loaded is waited for.
_PATIENT = {"Prefer": "wait=60"}
_TIMEOUT = httpx.Timeout(30.0, read=180.0, write=180.0)

JobView = dict[str, Any]
OnUpload = Callable[[int, int], None]
OnJob = Callable[[JobView], None]


class ServerError(Exception):
    """An answer other than success; `code` is the service's own, or `unreachable`."""

    def __init__(self, code: str, detail: str, status: int = 0, request_id: str = "") -> None:
        """Keep the parts."""
        super().__init__(f"{detail} ({code})")
        self.code, self.detail, self.status, self.request_id = code, detail, status, request_id


@dataclass(frozen=True, slots=True)
class Enhanced:
    """The voice, and what the service says of it.

    Attributes:
        content: The file: WAV unless another `output` was asked for.
        mode: `av`, `audio_only` or `mixed`.
        reason: Why not lips all along; None where they were.
        face: Track that was listened to.
    """

    content: bytes = field(repr=False)
    mode: str
    reason: str | None
    face: str | None

    def save(self, path: Path | str) -> Path:
        """Write the file, in one step."""
        return _put(Path(path), iter([self.content]))


class Client:
    """Talks to one server.

    Args:
        server: Where it is, such as `http://localhost:8000`.
        key: API key, where it asks for one.
        transport: For tests.
    """

    def __init__(
        self, server: str, key: str | None = None, transport: httpx.BaseTransport | None = None
    ) -> None:
        """Connect to nothing yet."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(
            base_url=server, headers=headers, timeout=_TIMEOUT, transport=transport
        )

    def __enter__(self) -> Self:
        """Use as a context manager, or call `close`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close."""
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def enhance(self, clip: Path | str, **options: object) -> Enhanced:
        """Upload a short clip and wait for the voice; options are the form fields of the API."""
        answer = self._upload("/v1/audio/enhancements", clip, options)
        said = answer.headers.get
        return Enhanced(
            answer.content, said("AVSE-Mode", ""), said("AVSE-Fallback-Reason"), said("AVSE-Face")
        )

    def submit(
        self, clip: Path | str, on_upload: OnUpload | None = None, **options: object
    ) -> JobView:
        """Upload a clip of up to 30 minutes; `on_upload(sent, total)` is told of its bytes."""
        job: JobView = self._upload("/v1/jobs", clip, options, on_upload).json()
        return job

    def faces(self, clip: Path | str, **options: object) -> list[dict[str, Any]]:
        """Who is in the picture: tracks with `id, start, end, bbox, score, speaking_score`."""
        return list(self._upload("/v1/faces", clip, options).json()["tracks"])

    def recognise(self, kind: str, clip: Path | str, **options: object) -> dict[str, Any]:
        """The `gestures` or `actions` of a short clip; `skeleton=Path(...)` is sent as a file."""
        return dict(self._upload(f"/v1/{kind}", clip, options).json())

    def models(self) -> list[dict[str, Any]]:
        """The models of the server and their states."""
        return list(self._call("GET", "/v1/models").json()["items"])

    def job(self, job_id: str, wait_s: float = 0.0) -> JobView:
        """The job as it stands, or as it ended within `wait_s`."""
        headers = {"Prefer": f"wait={wait_s:.0f}"} if wait_s else {}
        view: JobView = self._call("GET", f"/v1/jobs/{job_id}", headers=headers).json()
        return view

    def cancel(self, job_id: str) -> JobView:
        """Stop it."""
        view: JobView = self._call("POST", f"/v1/jobs/{job_id}/cancel").json()
        return view

    def delete(self, job_id: str) -> None:
        """Remove it and all its files."""
        self._call("DELETE", f"/v1/jobs/{job_id}")

    def events(self, job_id: str, after: int = 0) -> Iterator[tuple[int, str, dict[str, Any]]]:
        """Number, name and content of each event after number `after`, until the stream ends."""
        headers = {"Last-Event-ID": str(after)} if after else {}
        with self._stream(f"/v1/jobs/{job_id}/events", headers) as answer:
            fields: dict[str, str] = {}
            for line in answer.iter_lines():
                if line:
                    name, _, value = line.partition(":")
                    fields[name] = value.removeprefix(" ")
                elif "data" in fields:
                    yield int(fields.get("id") or 0), fields["event"], json.loads(fields["data"])
                    fields = {}

    def wait(self, job_id: str, on_job: OnJob | None = None) -> JobView:
        """The job once it has ended; `on_job` is told of each change.

        A server that cannot be reached for less than half a minute is waited for.
        """
        tell, after, lost_s = on_job or (lambda _: None), 0, 0.0
        while True:
            try:
                job = self.job(job_id)
                lost_s = 0.0
                tell(job)
                if job["status"] in FINAL:
                    return job
                for number, name, said in self.events(job_id, after):
                    after = number or after
                    if name == "progress":
                        is_queued = said.get("queue_position") is not None
                        tell({**job, **said, "status": "queued" if is_queued else "running"})
            except ServerError as error:
                if error.code not in ("unreachable", "draining") or lost_s >= PATIENCE_S:
                    raise
                time.sleep(1.0)
                lost_s += 1.0

    def download(
        self, job_id: str, variant: str, path: Path | str, on_bytes: OnUpload | None = None
    ) -> Path:
        """Write a result (`audio video input_audio mask report`); whole or not at all."""
        with self._stream(f"/v1/jobs/{job_id}/content?variant={variant}", {}) as answer:
            total = int(answer.headers.get("Content-Length") or 0)
            return _put(Path(path), answer.iter_bytes(), total, on_bytes)

    def _upload(
        self,
        path: str,
        clip: Path | str,
        options: Mapping[str, object],
        on_upload: OnUpload | None = None,
    ) -> httpx.Response:
        with _form(Path(clip), options, on_upload) as parts:
            return self._call("POST", path, headers=_PATIENT, **parts)

    def _call(self, method: str, path: str, **parts: Any) -> httpx.Response:
        try:
            return _checked(self._http.request(method, path, **parts))
        except httpx.HTTPError as error:
            raise _unreachable(error) from error

    @contextmanager
    def _stream(self, path: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
        try:
            with self._http.stream("GET", path, headers=headers) as answer:
                if answer.is_error:
                    answer.read()
                yield _checked(answer)
        except httpx.HTTPError as error:
            raise _unreachable(error) from error


@contextmanager
def _form(
    clip: Path, options: Mapping[str, object], on_upload: OnUpload | None
) -> Iterator[dict[str, Any]]:
    """Fields and open files of a form; an option that is a path is a file too."""
    given = {name: value for name, value in options.items() if value is not None}
    paths = {name: value for name, value in given.items() if isinstance(value, Path)}
    fields = {name: str(value) for name, value in given.items() if name not in paths}
    with ExitStack() as stack:
        files = {"file": (_sendable(clip), stack.enter_context(_Counted(clip, on_upload)))}
        for name, path in paths.items():
            files[name] = (_sendable(path), stack.enter_context(_Counted(path, None)))
        yield {"data": fields, "files": files}


def _sendable(path: Path) -> str:
    return path.name.encode(errors="replace").decode()


class _Counted(FileIO):
    """A file that tells how much of it was read."""

    def __init__(self, path: Path, on_upload: OnUpload | None) -> None:
        super().__init__(path)
        self._on_upload = on_upload
        self._total = path.stat().st_size

    def read(self, size: int | None = -1, /) -> bytes:
        content = super().read(-1 if size is None else size) or b""
        if self._on_upload is not None:
            self._on_upload(self.tell(), self._total)
        return content


def _checked(answer: httpx.Response) -> httpx.Response:
    """The answer if it is a success.

    Raises:
        ServerError: With the code of the problem.
    """
    if answer.is_success:
        return answer
    try:
        said = answer.json()
        code, detail = str(said["code"]), str(said["detail"])
    except (ValueError, KeyError, TypeError):
        code, detail = "internal", f"HTTP {answer.status_code} {answer.reason_phrase}"
    raise ServerError(code, detail, answer.status_code, answer.headers.get("X-Request-Id", ""))


def _unreachable(error: httpx.HTTPError) -> ServerError:
    return ServerError("unreachable", f"the server cannot be reached: {error}")


def _put(
    path: Path, blocks: Iterator[bytes], total: int = 0, on_bytes: OnUpload | None = None
) -> Path:
    """Write beside the file and give it its name at the end."""
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            for block in blocks:
                file.write(block)
                if on_bytes is not None:
                    on_bytes(file.tell(), total)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
