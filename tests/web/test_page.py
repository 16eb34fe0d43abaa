"""The page in a real browser, before the real API process with a pretended worker.

Needs Debian's chromium (`apt-get install chromium`) and the package playwright.
"""

from pathlib import Path

import httpx
import pytest

from tests.web.browsing import CHROMIUM, watched

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium"),
]


@pytest.fixture
def tab(browser, site):
    tab = watched(browser, site)
    yield tab
    tab.page.close()
    assert tab.faults == []


def test_sample_face_progress_result(tab, site):
    page = tab.page
    page.goto(site.url)
    page.click("#sample")
    page.wait_for_selector(".face >> nth=2")
    boxes = page.locator(".face-box")
    assert boxes.count() == 2
    assert boxes.first.bounding_box()["height"] > boxes.first.bounding_box()["width"] > 10
    assert page.locator(".badge").count() == 1
    assert page.locator(".stage-box").count() == 2
    page.locator(".stage-box >> nth=1").click(position={"x": 30, "y": 30})
    assert page.locator(".face input:checked").get_attribute("value") == "2"
    page.click("summary")
    page.fill("#strength", "80")
    page.click("#start")
    tab.wait_for_result()
    assert site.last_job()["options"]["face"] == "2"
    assert site.last_job()["options"]["strength"] == 0.8
    assert "by lips and sound" in page.inner_text("#result-how")
    assert any(url.endswith("/events") for url in tab.asked)
    has_ink = """(id) => [...document.querySelectorAll(`#${id} .wave > *, #${id} .spectrum`)].every(
        (part) => [...(part.shadowRoot ?? part).querySelectorAll("canvas")].some((canvas) => {
          const {width, height} = canvas;
          return canvas.getContext("2d").getImageData(0, 0, width, height).data.some((v) => v > 0);
        }))"""
    for name in ("view-before", "view-after"):
        page.wait_for_function(has_ink, arg=name)
    variants = page.locator(".download").evaluate_all("links => links.map(l => l.dataset.variant)")
    assert variants == ["audio", "mask", "report"]


def test_before_and_after_by_mouse_and_keys(tab):
    tab.finish_sample()
    page = tab.page
    heard = "window.avsePlayer.heard"
    assert page.evaluate(heard) == "after"
    page.click("#hear-before")
    assert page.evaluate(heard) == "before"
    assert page.get_attribute("#hear-before", "aria-checked") == "true"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(heard) == "after"
    assert page.evaluate("document.activeElement.id") == "hear-after"
    page.keyboard.press("b")
    assert page.evaluate(heard) == "before"
    page.locator("#result-title").focus()
    page.keyboard.press(" ")
    page.wait_for_function("() => window.avsePlayer.isPlaying && window.avsePlayer.position > 0.2")
    assert page.is_visible("#picture")
    # The picture follows the sound; a busy machine may show it late, never for long.
    page.wait_for_function(
        "() => Math.abs(avsePlayer.position"
        " - document.getElementById('picture').currentTime) < 0.15"
    )
    assert page.get_attribute("#play", "aria-label") == "Pause"
    page.keyboard.press(" ")
    assert page.evaluate("window.avsePlayer.isPlaying") is False
    page.evaluate("window.avsePlayer.seek(0.5)")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("window.avsePlayer.position") == pytest.approx(2.5)
    page.locator("#view-after .wave").scroll_into_view_if_needed()
    box = page.locator("#view-after .wave").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    assert page.evaluate("window.avsePlayer.position") == pytest.approx(1.0, abs=0.05)


def test_the_switch_has_no_gap_and_no_drift(tab, site):
    """Rendered offline, sample by sample: the sum of both gains stays one, the clock stays put."""
    tab.page.goto(site.url)
    found = tab.page.evaluate(
        """async () => {
          const { AbPlayer } = await import("/web/player.js");
          const rate = 16000, length = 2 * rate;
          const context = new OfflineAudioContext(1, length, rate);
          Object.defineProperty(context, "state", { value: "running" });
          const make = (value) => {
            const buffer = context.createBuffer(1, length, rate);
            buffer.getChannelData(0).forEach((_, i, all) => { all[i] = value(i); });
            return buffer;
          };
          // After is before plus a constant, so the output says which is heard and where it is.
          const ramp = (i) => (i % 1000) / 4000;
          const player = new AbPlayer(context, make(ramp), make((i) => ramp(i) + 0.5));
          player.play();
          for (const at of [0.5, 0.8, 1.1]) {
            context.suspend(at).then(() => { player.swap(); context.resume(); });
          }
          const out = (await context.startRendering()).getChannelData(0);
          const start = Math.round(0.06 * rate);
          let worst = 0;
          const share = [];
          for (let i = start + 1; i < length; i++) {
            const extra = (out[i] - ramp(i - start)) / 0.5;  // the gain of "after"
            worst = Math.max(worst, -extra, extra - 1);
            if (i % 1600 === 0) share.push(Math.round(extra * 100) / 100);
          }
          return { worst, share };
        }"""
    )
    assert found["worst"] < 1e-3
    assert set(found["share"]) == {0.0, 1.0}
    assert found["share"][0] == 1.0


def test_download_is_the_voice(tab):
    tab.finish_sample()
    with tab.page.expect_download() as waiting:
        tab.page.click(".download[data-variant=audio]")
    assert waiting.value.suggested_filename == "talking-enhanced.wav"
    assert Path(waiting.value.path()).read_bytes()[:4] == b"RIFF"


def test_a_clip_can_be_deleted_at_once(tab, site):
    tab.finish_sample()
    job = site.last_job()["id"]
    tab.page.click("#delete")
    tab.page.wait_for_selector("#choose:not([hidden])")
    assert httpx.get(f"{site.url}/v1/jobs/{job}").status_code == 404


@pytest.mark.parametrize(
    ("content", "title", "can_try_again"),
    [
        (b"FAIL no_audio", "The clip has no sound", False),
        (b"FAIL worker_lost", "The work was interrupted", True),
        (b"FAIL too_long", "The clip is too long", False),
        (b"FAIL something_new", "Something went wrong on the server", True),
    ],
)
def test_errors_in_words(tab, content, title, can_try_again):
    tab.give(content)
    tab.page.click("#start")
    tab.page.wait_for_selector("#error:not([hidden])")
    assert tab.page.inner_text("#error-title") == title
    assert tab.page.is_visible("#error-retry") is can_try_again
    assert tab.page.evaluate("document.activeElement.id") == "error"


def test_an_empty_clip_is_not_even_sent(tab):
    tab.give(b"")
    tab.page.wait_for_selector("#error:not([hidden])")
    assert tab.page.inner_text("#error-title") == "The file cannot be read"
    assert not any(url.endswith("/v1/jobs") for url in tab.asked)


def test_a_clip_that_no_choice_can_mend_is_refused_before_the_work(tab):
    tab.give(b"FAIL no_audio", "holiday.mp4", "video/mp4")
    tab.page.wait_for_selector("#error:not([hidden])")
    assert tab.page.inner_text("#error-title") == "The clip has no sound"
    assert "holiday.mp4" in tab.page.inner_text("#error-fine")
    assert tab.page.is_visible("#choose")
    tab.page.set_input_files("#file", {"name": "b.wav", "mimeType": "audio/wav", "buffer": b"so"})
    assert tab.page.is_hidden("#error")
    assert tab.page.inner_text("#clip-name") == "b.wav"


def test_a_clip_beyond_the_limits_is_not_sent(tab, site):
    tab.page.route(
        "**/v1/metadata",
        lambda route: route.fulfill(json={"limits": {"job_max_bytes": 2e6, "job_max_s": 90}}),
    )
    tab.page.goto(site.url)
    tab.page.wait_for_selector("text=up to 2 MB and 90 seconds")
    clip = {"name": "big.wav", "mimeType": "audio/wav", "buffer": bytes(2_100_000)}
    tab.page.set_input_files("#file", clip)
    tab.page.wait_for_selector("#error:not([hidden])")
    assert tab.page.inner_text("#error-title") == "The clip is too large"
    assert not any(url.endswith(("/v1/jobs", "/v1/faces")) for url in tab.asked)


def test_a_page_that_is_loaded_again_goes_on_with_its_job(tab):
    tab.give(b"SLOW 600")
    tab.page.click("#start")
    tab.page.wait_for_selector(".stages .is-now[data-stage=infer]")
    tab.page.reload()
    tab.page.wait_for_selector(".stages .is-now[data-stage=infer]")
    tab.page.click("#cancel")
    tab.page.wait_for_selector("#choose:not([hidden])")
    tab.page.reload()
    tab.page.wait_for_selector("#choose:not([hidden])")
    tab.finish_sample()
    tab.page.reload()
    tab.wait_for_result()
    tab.page.click("#again")
    tab.page.click("#sample-two")
    tab.page.wait_for_selector(".face >> nth=2")
    tab.page.click("#start")
    tab.page.wait_for_selector("#result:not([hidden])")
    tab.page.wait_for_function("() => document.querySelectorAll('.wave > *').length === 2")
    tab.page.goto(tab.url)  # opened anew, not loaded again: a fresh start
    assert tab.page.is_visible("#choose")
    assert tab.page.evaluate("sessionStorage.length") == 0


def test_a_server_that_is_gone(tab):
    tab.give(b"sound")
    tab.page.route("**/v1/jobs", lambda route: route.abort())
    tab.page.click("#start")
    tab.page.wait_for_selector("#error:not([hidden])")
    assert tab.page.inner_text("#error-title") == "The server cannot be reached"
    tab.page.unroute("**/v1/jobs")
    tab.page.click("#error-retry")
    tab.wait_for_result()
    tab.faults.clear()  # the browser notes the refused connection


def test_progress_and_cancel(tab, site):
    tab.give(b"SLOW 600")
    tab.page.click("#start")
    tab.page.wait_for_selector(".stages .is-now[data-stage=infer]")
    assert tab.page.locator(".stages .is-done").count() == 3
    assert tab.page.input_value("#strength") == "100"
    assert 15 < tab.page.evaluate("document.getElementById('bar').value") < 100
    tab.page.click("#cancel")
    tab.page.wait_for_selector("#prepare:not([hidden])")
    assert site.last_job()["status"] == "canceled"


def test_warnings_are_shown(tab):
    tab.give(b"WARN")
    tab.page.click("#start")
    tab.wait_for_result()
    assert tab.page.inner_text("#result-warnings li") == "A warning"


def test_a_dropped_clip(tab, site):
    tab.page.goto(site.url)
    tab.page.evaluate(
        """() => {
          const transfer = new DataTransfer();
          transfer.items.add(new File(["sound"], "<b>drop</b>.wav", { type: "audio/wav" }));
          const event = (name) => new DragEvent(name, { dataTransfer: transfer, bubbles: true });
          document.body.dispatchEvent(event("dragover"));
          document.body.dispatchEvent(event("drop"));
        }"""
    )
    assert tab.page.inner_text("#clip-name") == "<b>drop</b>.wav"


def test_by_keyboard_alone(tab, site):
    page = tab.page
    page.goto(site.url)
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.className")
        )
        if reached[-1] == "sample":
            break
    assert reached[0] == "skip"
    assert "file" in reached
    page.keyboard.press("Enter")
    page.wait_for_selector(".face >> nth=2")
    page.locator(".face input >> nth=0").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator(".face input:checked").get_attribute("value") == "1"
    page.locator("#start").focus()
    page.keyboard.press("Enter")
    tab.wait_for_result()
    assert page.evaluate("document.activeElement.id") == "result-title"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_sticks_out(browser, site, scheme):
    tab = watched(browser, site, (360, 740))
    tab.page.emulate_media(color_scheme=scheme)
    fits = "document.documentElement.scrollWidth <= innerWidth"
    tab.page.goto(site.url)
    assert tab.page.evaluate(fits)
    tab.finish_sample()
    assert tab.page.evaluate(fits)
    small = tab.page.evaluate(
        """[...document.querySelectorAll("button, .download, select")].filter(
          (each) => each.offsetParent && !each.matches(".link")
            && each.getBoundingClientRect().height < 36).map((each) => each.id)"""
    )
    assert small == []
    tab.page.close()
    assert tab.faults == []


def test_everything_one_can_use_has_a_name(tab, site):
    tab.finish_sample()
    nameless = tab.page.evaluate(
        """() => {
          const named = (each) => each.getAttribute("aria-label") || each.labels?.length
            || each.getAttribute("aria-labelledby") || each.textContent.trim();
          const all = [...document.querySelectorAll("button, input, select, a, progress")];
          return all.filter((each) => !named(each)).map((each) => each.id || each.outerHTML);
        }"""
    )
    assert nameless == []


def test_a_key_is_asked_for_only_where_it_is_needed(browser, guarded_site):
    tab = watched(browser, guarded_site)
    page = tab.page
    tab.give(b"sound")
    assert page.is_hidden("#key-form")
    page.click("#start")
    page.wait_for_selector("#key-form:not([hidden])")
    page.fill("#key", "wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=This key was not accepted.")
    page.fill("#key", guarded_site.key)
    page.keyboard.press("Enter")
    tab.wait_for_result()
    assert not any("/events" in url for url in tab.asked)
    with page.expect_download() as waiting:
        page.click(".download[data-variant=audio]")
    assert Path(waiting.value.path()).read_bytes()[:4] == b"RIFF"
    page.click("#forget-key")
    assert page.evaluate("sessionStorage.getItem('avse-key')") is None
    page.close()
    assert tab.faults == []


def test_the_documents_of_the_interface(tab, site):
    tab.page.goto(f"{site.url}/docs")
    tab.page.wait_for_selector(".opblock")
    assert "/v1/audio/enhancements" in tab.page.inner_text("#docs")
