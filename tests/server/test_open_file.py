"""A file that is deleted while it is answered comes whole."""

from pathlib import Path

import anyio
import httpx
import pytest
from starlette.types import Receive, Scope, Send

from server.open_file import OpenFileResponse

CONTENT = bytes(range(256)) * 1000


class _Answers:
    """An application whose one file is deleted before its first header is sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answer: OpenFileResponse | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.path.write_bytes(CONTENT)
        self.answer = OpenFileResponse(self.path, media_type="audio/wav")
        self.path.unlink()
        await self.answer(scope, receive, send)

    def request(self, method: str, headers: dict[str, str]) -> httpx.Response:
        """Ask it once."""
        return anyio.run(self._request, method, headers)

    async def _request(self, method: str, headers: dict[str, str]) -> httpx.Response:
        transport = httpx.ASGITransport(self)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, "/", headers=headers)


@pytest.mark.parametrize(
    ("method", "wanted", "status", "expected"),
    [
        ("GET", None, 200, CONTENT),
        ("GET", "bytes=1000-1999", 206, CONTENT[1000:2000]),
        ("HEAD", None, 200, b""),
        ("GET", "bytes=999999-", 416, None),
    ],
)
def test_deleted_before_the_first_header(
    tmp_path: Path, method: str, wanted: str | None, status: int, expected: bytes | None
) -> None:
    application = _Answers(tmp_path / "sound.wav")
    headers = {} if wanted is None else {"Range": wanted}
    answer = application.request(method, headers)
    assert answer.status_code == status
    if expected is not None:
        assert answer.content == expected
        assert answer.headers["content-type"] == "audio/wav"
    assert application.answer is not None
    assert application.answer._file.closed


def test_two_ranges_of_a_deleted_file(tmp_path: Path) -> None:
    answer = _Answers(tmp_path / "sound.wav").request("GET", {"Range": "bytes=0-9,-10"})
    assert answer.status_code == 206
    assert CONTENT[:10] in answer.content
    assert CONTENT[-10:] in answer.content


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        OpenFileResponse(tmp_path / "none.wav")
