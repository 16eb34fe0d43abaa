"""The page and its files: what is served, under which guards, and that no other host is named."""

import asyncio
import re
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from server.errors import ApiError, problem
from server.routes import pages

FOLDER = Path(pages.__file__).parents[1] / "web"
OWN = sorted(name for name in pages.ASSETS if not name.startswith("vendor/"))
NAMESPACES = "http://www.w3.org/"


class PagesOnly:
    """An app with the router of the pages and nothing else."""

    def __init__(self):
        app = FastAPI(docs_url=None)
        app.include_router(pages.router)
        app.add_exception_handler(ApiError, lambda request, error: problem(error, request))
        self._transport = httpx.ASGITransport(app)

    def get(self, path, headers=None):
        async def ask():
            base = "http://testserver"
            async with httpx.AsyncClient(transport=self._transport, base_url=base) as client:
                return await client.get(path, headers=headers)

        return asyncio.run(ask())


@pytest.fixture(scope="module")
def client():
    return PagesOnly()


def policy_of(answer) -> dict[str, str]:
    parts = answer.headers["Content-Security-Policy"].split(";")
    return dict(part.strip().split(" ", 1) for part in parts)


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_runs_only_our_own_scripts(client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/html")
    policy = policy_of(answer)
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_a_page_has_nothing_inline_that_the_policy_would_stop(client, path):
    text = client.get(path).text
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"<[^>]*\s(?:on\w+|style)=", text)
    assert "<style" not in text


def test_the_nonce_of_the_page_is_new_each_time_and_named_in_the_policy(client):
    first, second = client.get("/"), client.get("/")
    nonces = [re.search(r'nonce="([^"]+)"', each.text).group(1) for each in (first, second)]
    assert nonces[0] != nonces[1]
    assert f"'nonce-{nonces[0]}'" in policy_of(first)["style-src"]
    assert "{{" not in first.text


@pytest.mark.parametrize("name", pages.ASSETS)
def test_every_file_of_the_list_is_served_with_its_type(client, name):
    answer = client.get(f"/web/{name}")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == pages.ASSETS[name]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.content == (FOLDER / name).read_bytes()


def test_a_file_the_browser_has_is_not_sent_again(client):
    tag = client.get("/web/app.js").headers["ETag"]
    again = client.get("/web/app.js", headers={"If-None-Match": tag})
    assert again.status_code == 304
    assert again.content == b""


@pytest.mark.parametrize(
    "name",
    [
        "", "index.html", "docs.html", "..%2froutes%2fpages.py", "vendor",
        "vendor/wavesurfer/", "%2e%2e/main.py", "/etc/passwd", "app.js%00", "APP.JS", "samples/",
    ],
)  # fmt: skip
def test_nothing_else_is_served(client, name):
    answer = client.get(f"/web/{name}")
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


def test_every_file_in_the_folder_is_on_the_list_or_a_page():
    there = {str(path.relative_to(FOLDER)) for path in FOLDER.rglob("*") if path.is_file()}
    assert there == set(pages.ASSETS) | {"index.html", "docs.html"}


@pytest.mark.parametrize("name", [*OWN, "index.html", "docs.html"])
def test_our_own_files_name_no_other_host(name):
    if name.endswith((".mp4", ".txt")):
        return
    text = (FOLDER / name).read_text(encoding="utf-8")
    hosts = [url for url in re.findall(r"\w+:\/\/[^\s\"'<>)]*", text) if url != "data:"]
    assert all(url.startswith(NAMESPACES) for url in hosts), hosts
    assert not re.search(r"(?:src|href)=[\"']\/\/", text)


def test_every_import_and_link_is_one_of_our_files(client):
    for name in [each for each in OWN if each.endswith(".js")]:
        text = (FOLDER / name).read_text(encoding="utf-8")
        for target in re.findall(r"from \"\./([^\"]+)\"", text):
            assert target in pages.ASSETS, f"{name} imports {target}"
    for path in ("/", "/docs"):
        for link in re.findall(r"(?:src|href)=\"/web/([^\"]+)\"", client.get(path).text):
            assert link in pages.ASSETS


def test_every_element_the_scripts_ask_for_is_on_the_page(client):
    there = set(re.findall(r"\bid=\"([^\"]+)\"", client.get("/").text))
    for name in ("app.js", "prepare.js", "result.js", "views.js"):
        text = (FOLDER / name).read_text(encoding="utf-8")
        asked = set(re.findall(r"(?:\bat|getElementById)\(\"([^\"]+)\"\)", text))
        assert asked <= there, f"{name}: {asked - there}"


def test_every_code_of_the_service_has_words():
    from server.errors import CODES

    text = (FOLDER / "words.js").read_text(encoding="utf-8")
    explained = set(re.findall(r"^  (\w+): \[\"", text, flags=re.MULTILINE))
    assert set(CODES) <= explained


def test_vendored_files_keep_their_licences():
    assert "BSD 3-Clause" in (FOLDER / "vendor/wavesurfer/LICENSE").read_text()
    assert "Apache License" in (FOLDER / "vendor/swagger-ui/LICENSE").read_text()
    for sample in (FOLDER / "samples").iterdir():
        assert sample.stat().st_size < 300_000


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_as_wcag_asks(scheme):
    block = re.findall(r":root \{(.*?)\}", (FOLDER / "style.css").read_text(), re.DOTALL)[scheme]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))
    pairs = [
        (ink, paper) for ink in ("ink", "muted", "accent") for paper in ("page", "card", "tint")
    ]
    pairs += [("on-accent", "accent"), ("on-accent", "accent-deep"), ("bad", "bad-tint")]
    pairs += [("bad", "card"), ("ink", "bad-tint"), ("muted", "bad-tint"), ("ink", "warn-tint")]
    for ink, paper in pairs:
        lighter, darker = sorted((luminance(colours[ink]), luminance(colours[paper])), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, f"{ink} on {paper}"
    for paper in ("page", "card"):  # edges of fields: 3 to 1
        lighter, darker = sorted((luminance(colours["field"]), luminance(colours[paper])))[::-1]
        assert (lighter + 0.05) / (darker + 0.05) >= 3, f"field on {paper}"
