"""Pages of results are read by people."""

import pytest

from avse.evaluation.pages import caption, html_page


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("training.png", "Training"),
        ("before-after-test-two_0db.png", "Before and after: test, two_0db"),
        ("before-after-test-babble6_-5db.png", "Before and after: test, babble6_-5db"),
        ("gain-over-snr-elsewhere.png", "Gain over the mixture's SNR: elsewhere"),
        ("example-test-two_0db-worst.png", "Example: test, two_0db, worst"),
        ("something-else.png", "something-else"),
    ],
)
def test_captions(name: str, words: str) -> None:
    assert caption(name) == words


def test_what_stands_above_a_picture() -> None:
    page = html_page("Results", {"Goals": ([], [])}, {"example-test-a<b-best.png": b"x"}, {})
    assert "<h3>Example: test, a&lt;b, best</h3>" in page
    assert 'alt="Example: test, a&lt;b, best"' in page
