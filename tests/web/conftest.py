"""Servers and a browser, one of each for a file of tests."""

import pytest

from server.keys import add_key
from tests.web.browsing import CHROMIUM, FLAGS, PATIENCE_MS, Site, started


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    url, running = started(tmp_path_factory.mktemp("site"))
    yield Site(url)
    running.terminate()
    running.wait(60)


@pytest.fixture(scope="module")
def guarded_site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")
    key = add_key(folder / "keys.json", "alice", ["enhance"])
    url, running = started(folder, "--key-file", str(folder / "keys.json"))
    yield Site(url, key)
    running.terminate()
    running.wait(60)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from playwright.sync_api import sync_playwright

    profile = tmp_path_factory.mktemp("profile")
    with sync_playwright() as tools:
        context = tools.chromium.launch_persistent_context(
            str(profile), executable_path=CHROMIUM, args=FLAGS, headless=True,
            timeout=PATIENCE_MS, accept_downloads=True,
        )  # fmt: skip
        context.set_default_timeout(PATIENCE_MS)
        yield context
        context.close()
